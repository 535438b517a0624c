//! The client against a server that answers, breaks and keeps silent on demand.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod retries;
