//! The time that answers carry, in the header `Date`.
//!
//! The HTTP library writes it too, and renders it anew when the clock has passed the end of
//! the second that it rendered last. A clock that is set back then passes it hours later,
//! and until then every answer carries a time that is hours wrong: caches and proxies count
//! the age of an answer from it. Here it is rendered anew whenever the second is another one.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderValue;
use httpdate::HttpDate;

/// What the wall clock says.
pub(crate) fn now() -> HeaderValue {
    thread_local!(static DATES: RefCell<Dates> = const { RefCell::new(Dates { last: None }) });
    DATES.with_borrow_mut(|dates| dates.at(SystemTime::now()))
}

/// The date that was rendered last, with its second: many answers leave in the same one.
struct Dates {
    last: Option<(u64, HeaderValue)>,
}

impl Dates {
    fn at(&mut self, time: SystemTime) -> HeaderValue {
        // A clock before 1970 has never been set. The format cannot say it.
        let second = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if let Some((last, date)) = &self.last
            && *last == second
        {
            return date.clone();
        }
        let date = HeaderValue::from_str(&render(second)).expect("a date is plain ASCII");
        self.last = Some((second, date.clone()));
        date
    }
}

fn render(second: u64) -> String {
    /// The last second of the year 9999: the format has four digits for a year.
    const LAST: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs(second.min(LAST));
    HttpDate::from(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_follows_a_clock_that_is_set_back() {
        let mut dates = Dates { last: None };
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_millis(seconds * 1_000 + 999);
        assert_eq!(dates.at(at(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(dates.at(at(784_111_777 - 7_200)), "Sun, 06 Nov 1994 06:49:37 GMT");
        assert_eq!(dates.at(at(784_111_778)), "Sun, 06 Nov 1994 08:49:38 GMT");
    }

    #[test]
    fn no_clock_is_too_wrong_to_be_rendered() {
        let mut dates = Dates { last: None };
        let unset = UNIX_EPOCH - Duration::from_secs(86_400);
        assert_eq!(dates.at(unset), "Thu, 01 Jan 1970 00:00:00 GMT");
        let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(dates.at(far), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
