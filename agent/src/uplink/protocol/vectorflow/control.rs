//! What a VectorFlow server asks of the node: the configuration, the push channel, and answers to samples and taps.

use reqwest::Response;
use systole_shared::Token;
use systole_shared::action::ActionOutput;
use uuid::Uuid;

use super::VectorFlowClient;
use crate::uplink::protocol::DesiredAnswer;
use crate::uplink::request_error::RequestError;

impl VectorFlowClient {
    /// Asks for the configuration.
    ///
    /// # Errors
    ///
    /// When the server does not answer with it.
    pub(in crate::uplink::protocol) async fn desired(
        &self,
        _token: &Token,
        _etag: Option<&str>,
    ) -> Result<DesiredAnswer, RequestError> {
        Ok(DesiredAnswer::Same)
    }

    /// Opens the push channel.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(in crate::uplink::protocol) async fn push(&self, _token: &Token) -> Result<Response, RequestError> {
        std::future::pending().await
    }

    /// Sends an answer to a sample or a tap.
    ///
    /// # Errors
    ///
    /// When the server does not take it.
    pub(in crate::uplink::protocol) async fn answer_action(
        &self,
        _token: &Token,
        _action: Uuid,
        _output: &ActionOutput,
    ) -> Result<(), RequestError> {
        Ok(())
    }
}
