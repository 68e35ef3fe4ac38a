/* Makes one flush of a journal fail: a shim between a program and fsync/fdatasync, for LD_PRELOAD.
 *
 * While the file named by MILLRACE_TEST_FAIL_FLUSH exists, flushes of files whose path contains "journal.db" are
 * counted; the one with the number that the file contains fails with EIO, and every other one is passed on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int flushes;

static int must_fail(int fd) {
    const char *trigger = getenv("MILLRACE_TEST_FAIL_FLUSH");
    char link[64], path[4096];
    int nth = 0;
    if (trigger == NULL) return 0;
    FILE *file = fopen(trigger, "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%d", &nth) != 1) nth = 0;
    fclose(file);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = '\0';
    if (strstr(path, "journal.db") == NULL) return 0;
    return atomic_fetch_add(&flushes, 1) + 1 == nth;
}

static int flush(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (must_fail(fd)) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fsync(int fd) { return flush("fsync", fd); }
int fdatasync(int fd) { return flush("fdatasync", fd); }
