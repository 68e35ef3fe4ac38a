//! Waiting until something is so, with an end.
//!
//! Promise: what was waited for, how long, and what was there instead stands in the error.
//! Absent: fixed waits. Processes tell of themselves by files and status pages, which are asked again and again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::PlantError;

/// Between two looks: short against what people notice, long against what a look costs.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What one look saw.
pub enum Look<T> {
    /// It is so.
    Found(T),
    /// Not yet; the text says what was there instead.
    NotYet(String),
}

/// Looks until it is so, or `limit` is over. A probe that fails is a probe that has not found it yet: processes are
/// killed here all the time.
///
/// # Errors
/// [`PlantError::Patience`] with what was seen last.
pub async fn until<T, F>(what: &str, limit: Duration, mut probe: impl FnMut() -> F) -> Result<T, PlantError>
where
    F: Future<Output = Result<Look<T>, PlantError>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let last = match probe().await {
            Ok(Look::Found(found)) => return Ok(found),
            Ok(Look::NotYet(last)) => last,
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(PlantError::Patience { what: what.to_owned(), limit, last });
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_when_it_is_so_and_says_what_was_there_when_it_is_not() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            let seen = looks;
            async move { Ok(if seen == 3 { Look::Found(seen) } else { Look::NotYet(seen.to_string()) }) }
        });
        assert_eq!(found.await.unwrap(), 3);
        let never = until("a miracle", Duration::ZERO, || async { Ok(Look::<()>::NotYet("nothing".into())) });
        assert_eq!(never.await.unwrap_err().to_string(), "waited 0ns for a miracle; last seen: nothing");
    }
}
