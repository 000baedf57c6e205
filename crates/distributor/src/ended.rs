//! Says how a task ended that never should.

use std::fmt::Display;

use tokio::task::JoinError;

/// How a task ended whose last word was `outcome`.
pub(crate) fn ended<E: Display>(outcome: Result<Result<(), E>, JoinError>) -> String {
    match outcome {
        Ok(Ok(())) => "it returned".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}

/// How a task ended that has no errors of its own.
pub(crate) fn ended_quietly(outcome: Result<(), JoinError>) -> String {
    ended(outcome.map(Ok::<(), JoinError>))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_task_is_said_in_words() {
        assert_eq!(ended_quietly(tokio::spawn(async {}).await), "it returned");
        let refused = tokio::spawn(async { Err(std::io::Error::other("no socket")) });
        assert_eq!(ended(refused.await), "no socket");
        let endless = tokio::spawn(std::future::pending());
        endless.abort();
        let text = ended_quietly(endless.await);
        assert!(text.contains("was cancelled"), "{text}");
    }
}
