#!/usr/bin/env bash
# Checks the units and their companions without installing anything:
#   - systemd accepts every line, and the exposure score is at most 2.0 (`--threshold=20`);
#   - every group of lines in [Service] has its reason above it;
#   - both programs are started by the path and config that the packages install;
#   - sysusers and tmpfiles do what they should in a temporary root.
# Needs systemd-analyze (Debian: systemd). Exits 0 when all is well, 1 with the reasons otherwise.
set -euo pipefail
cd "$(dirname "$0")"

threshold=20
failed=0
fail() {
    printf 'FAIL %s\n' "$*" >&2
    failed=1
}

if ! command -v systemd-analyze >/dev/null; then
    echo "systemd-analyze is missing; install the package 'systemd'" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(systemd-analyze --version | awk 'NR == 1 { print int($2) }')

# Lines that only newer versions know, with the version that brought them. Older ones ignore them aloud.
newer_keys() {
    if [ "$version" -lt 254 ]; then echo "RestartSteps|RestartMaxDelaySec"; else echo "^$"; fi
}

for program in agent hub; do
    unit=millrace-$program.service

    grep -qx "ExecStart=/usr/bin/millrace-$program run --config /etc/millrace/$program.toml" "$unit" ||
        fail "$unit: ExecStart is not what the packages install"

    # The program itself need not be installed here.
    sed 's#^ExecStart=.*#ExecStart=/bin/true#' "$unit" >"$work/$unit"
    systemd-analyze verify "$work/$unit" >"$work/verify" 2>&1 || fail "$unit: systemd-analyze verify refuses it"
    if grep -Ev "Unknown key( name)? '($(newer_keys))'" "$work/verify" >"$work/complaints"; then
        fail "$unit: $(cat "$work/complaints")"
    fi

    if systemd-analyze security --offline=true --threshold="$threshold" --no-pager "$work/$unit" \
        >"$work/score" 2>"$work/score.notes"; then
        echo "ok   $unit: $(grep -o 'Overall exposure.*: [0-9.]*' "$work/score" | sed 's/.*: /exposure /')"
    else
        fail "$unit: too exposed: $(tail -n 1 "$work/score")"
    fi

    bare=$(awk '
        /^\[/ { service = ($0 == "[Service]"); told = 0; next }
        /^#/ { told = 1; next }
        /^$/ { told = 0; next }
        service && !told && !/^(Type|NotifyAccess|ExecStart|ExecReload)=/ { print FNR ": " $0 }
    ' "$unit")
    [ -z "$bare" ] || fail "$unit: lines without a reason above them: $bare"
done

mkdir -p "$work/root/etc"
systemd-sysusers --root="$work/root" "$PWD/sysusers.d/millrace.conf" >"$work/users" 2>&1 ||
    fail "sysusers.d/millrace.conf: $(cat "$work/users")"
grep -q '^millrace:' "$work/root/etc/group" || fail "sysusers.d/millrace.conf makes no group millrace"

if [ "$(id -u)" -eq 0 ]; then
    mkdir -p "$work/root/etc/millrace"
    echo secret >"$work/root/etc/millrace/mqtt-password"
    cp agent.toml hub.toml "$work/root/etc/millrace/"
    systemd-tmpfiles --root="$work/root" --create "$PWD/tmpfiles.d/millrace.conf" >"$work/files" 2>&1 ||
        fail "tmpfiles.d/millrace.conf: $(cat "$work/files")"
    [ "$(stat -c %a "$work/root/etc/millrace/mqtt-password")" = 600 ] || fail "the password file is readable by others"
    [ "$(stat -c %a "$work/root/etc/millrace")" = 755 ] || fail "/etc/millrace has another mode than 0755"
else
    echo "note tmpfiles.d is checked only as root"
fi

[ "$failed" -eq 0 ] && echo "ok   sysusers.d, tmpfiles.d, reasons"
exit "$failed"
