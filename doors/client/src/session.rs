//! Sessions: a client is never shown less than it has seen.
//!
//! The nodes keep nothing of a session. What it has seen of a shard is in a token that comes
//! with each answer and goes with the next request, to whichever node. Which shard a key is in
//! only the nodes know, so all tokens go with each request, one for each shard that the
//! session has touched.
//!
//! Requests that are on their way at the same time know nothing of each other. So an answer
//! replaces the tokens that its request had taken along, and no others: two tokens of one
//! shard are together what both have seen.
//!
//! A program that ends, and goes on as another one, takes its session along as text: a line that
//! says what it is, and one for each token, after the shard that it is of. Whoever loses a line
//! of it can be shown less, so nothing is read that is not whole.
//!
//! ```text
//! merganser session 1
//! ks1/17 AQERAP______YwA
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    Answer, Content, Context, Error, Key, Problem, ReadOptions, Table, WriteOptions, Written,
};

pub(crate) const SESSION: HeaderName = HeaderName::from_static("merganser-session");

/// The first line of a session as text.
const HEAD: &str = "merganser session 1";

/// The most shards that a session can touch: their tokens go with each request, in its head.
const SHARDS_MAX: usize = 96;

/// One session. Clones are the same session.
///
/// It reads what it has written and what it has read before, and its writes come after both,
/// at whatever nodes; or a request fails with [`Error::NotAttempted`] and the code
/// `session_behind`. Lists and batches are in no session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    seen: Arc<Mutex<Tokens>>,
}

/// By shard, as receipts name it.
type Tokens = BTreeMap<String, Vec<HeaderValue>>;

impl Session {
    /// A session that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Table::get`].
    ///
    /// # Errors
    ///
    /// As [`Table::get`]; and if it has touched more shards than requests have room for.
    pub async fn get(
        &self,
        table: &Table,
        key: &Key,
        options: &ReadOptions,
    ) -> Result<Answer, Error> {
        let (headers, taken) = self.headers()?;
        let (answer, token) = table.read(key, options, headers).await?;
        self.sees(answer.receipt.as_ref().map(|receipt| &*receipt.shard), token, &taken);
        Ok(answer)
    }

    /// As [`Table::put`].
    ///
    /// # Errors
    ///
    /// As [`Table::put`], and as [`get`](Self::get).
    pub async fn put(
        &self,
        table: &Table,
        key: &Key,
        content: &Content,
        context: Option<&Context>,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let (headers, taken) = self.headers()?;
        let (written, token) = table.store(key, content, context, options, headers).await?;
        self.sees(written.receipt.as_ref().map(|receipt| &*receipt.shard), token, &taken);
        Ok(written)
    }

    /// As [`Table::delete`].
    ///
    /// # Errors
    ///
    /// As [`Table::delete`], and as [`get`](Self::get).
    pub async fn delete(
        &self,
        table: &Table,
        key: &Key,
        context: Option<&Context>,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let (headers, taken) = self.headers()?;
        let (written, token) = table.remove(key, context, options, headers).await?;
        self.sees(written.receipt.as_ref().map(|receipt| &*receipt.shard), token, &taken);
        Ok(written)
    }

    /// What goes with a request, and the tokens in it.
    fn headers(&self) -> Result<(HeaderMap, Tokens), Error> {
        let taken = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if SHARDS_MAX < taken.len() {
            return Err(Error::Refused(Box::new(wide(taken.len()))));
        }
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(SESSION, HeaderValue::from_static(""));
        for token in taken.values().flatten() {
            headers.append(SESSION, token.clone());
        }
        Ok((headers, taken))
    }

    /// An answer says what the session has seen of a shard, with what its request had taken along.
    fn sees(&self, shard: Option<&str>, token: Option<HeaderValue>, taken: &Tokens) {
        let (Some(shard), Some(token)) = (shard, token) else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = seen.entry(shard.to_owned()).or_default();
        let before = taken.get(shard).map(Vec::as_slice).unwrap_or_default();
        tokens.retain(|other| !before.contains(other) && *other != token);
        tokens.push(token);
    }
}

/// As text, to go on with in another program.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, tokens) in &*seen {
            for token in tokens {
                writeln!(f, "{shard} {}", String::from_utf8_lossy(token.as_bytes()))?;
            }
        }
        Ok(())
    }
}

/// What was given as a session is none, or not whole.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is no session: {0}")]
pub struct NoSession(String);

impl FromStr for Session {
    type Err = NoSession;

    /// Reads what [`Display`](fmt::Display) wrote.
    fn from_str(text: &str) -> Result<Self, NoSession> {
        let Some(lines) = text.strip_prefix(HEAD).and_then(|rest| rest.strip_prefix('\n')) else {
            return Err(NoSession(format!("its first line is not {HEAD:?}")));
        };
        if !lines.is_empty() && !lines.ends_with('\n') {
            return Err(NoSession("its last line is cut off".to_owned()));
        }
        let mut tokens = Tokens::new();
        for (index, line) in lines.split_terminator('\n').enumerate() {
            let wrong = || NoSession(format!("line {} is not SHARD TOKEN", index + 2));
            let (shard, token) = line.split_once(' ').ok_or_else(wrong)?;
            // A comma would be two tokens.
            let is_word = |word: &str| {
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
            };
            if !is_word(shard) || !is_word(token) {
                return Err(wrong());
            }
            let token = HeaderValue::from_str(token).map_err(|_| wrong())?;
            tokens.entry(shard.to_owned()).or_default().push(token);
        }
        Ok(Self { seen: Arc::new(Mutex::new(tokens)) })
    }
}

fn wide(shards: usize) -> Problem {
    Problem {
        code: "session_invalid".into(),
        title: "The session has touched too many shards".into(),
        detail: format!(
            "the session has touched {shards} shards, and its tokens have room for {SHARDS_MAX} \
             in a request; nothing was sent; begin another session"
        ),
        ..Problem::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(session: &Session) -> Vec<String> {
        let (headers, _) = session.headers().unwrap();
        headers.get_all(SESSION).iter().map(|token| token.to_str().unwrap().to_owned()).collect()
    }

    fn token(text: &'static str) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(text))
    }

    #[test]
    fn an_answer_replaces_what_its_request_took_along_and_nothing_that_came_meanwhile() {
        let session = Session::new();
        assert_eq!(tokens(&session), [""], "it begins with an empty one");
        let (_, first) = session.headers().unwrap();
        let (_, second) = session.headers().unwrap();
        session.sees(Some("ks1/3"), token("a"), &first);
        session.sees(Some("ks1/3"), token("b"), &second);
        session.sees(Some("ks1/4"), token("c"), &second);
        assert_eq!(tokens(&session), ["", "a", "b", "c"]);
        let (_, third) = session.headers().unwrap();
        session.clone().sees(Some("ks1/3"), token("d"), &third);
        assert_eq!(tokens(&session), ["", "d", "c"]);
    }

    #[test]
    fn a_session_goes_on_as_text_and_nothing_is_read_that_is_not_whole() {
        let session = Session::new();
        assert_eq!(session.to_string(), "merganser session 1\n");
        session.sees(Some("ks1/3"), token("a"), &Tokens::new());
        session.sees(Some("ks1/3"), token("b"), &Tokens::new());
        session.sees(Some("ks2/0"), token("c"), &Tokens::new());
        let text = session.to_string();
        assert_eq!(text, "merganser session 1\nks1/3 a\nks1/3 b\nks2/0 c\n");
        let again: Session = text.parse().unwrap();
        assert_eq!(tokens(&again), tokens(&session));
        assert_eq!(again.to_string(), text);
        for (end, byte) in text.bytes().enumerate().skip(1) {
            let cut = text[..end].parse::<Session>();
            assert_eq!(cut.is_ok(), text[..end].ends_with('\n'), "up to {end}, where {byte} is");
        }
        let wrong =
            ["ks1/3", "ks1/3 ", " a", "ks1/3 a b", "ks1/3 a,b", "ks1/3 a\r", "", "ks1/3 \u{e9}"];
        for line in wrong {
            let read = format!("{HEAD}\nks1/3 a\n{line}\n").parse::<Session>();
            assert_eq!(
                read.unwrap_err(),
                NoSession("line 3 is not SHARD TOKEN".into()),
                "{line:?}"
            );
        }
        for text in ["", "\n", "merganser session 2\n", "merganser session 1\r\n", "ks1/3 a\n"] {
            assert!(text.parse::<Session>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_session_of_too_many_shards_is_refused_and_not_cut_short() {
        let session = Session::new();
        for shard in 0..=SHARDS_MAX {
            assert!(session.headers().is_ok());
            session.sees(Some(&format!("ks1/{shard}")), token("a"), &Tokens::new());
        }
        assert!(session.headers().unwrap_err().to_string().contains("97 shards"));
    }
}
