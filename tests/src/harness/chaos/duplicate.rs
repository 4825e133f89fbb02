//! A request that arrives twice: the one place in which the proxy knows HTTP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{FaultPlan, Shared, Twin, connect, reset, tunnel};
use crate::harness::message::{read_message, read_some};

/// Longest that a message may take.
const MESSAGE: Duration = Duration::from_secs(30);

/// Takes one request; a POST is sent twice, and the connection closed after its answer. Anything else
/// may have an answer without an end, and is carried as it is.
pub(super) async fn carry(shared: &Shared, mut client: TcpStream, twin: Twin) -> io::Result<()> {
    let mut request = Vec::new();
    timeout(MESSAGE, read_some(&mut client, &mut request)).await??;
    if !request.starts_with(b"POST ") {
        let upstream = connect(shared.target).await?;
        return tunnel::carry(shared, client, upstream, FaultPlan::Pass { exchanges: 0 }, request).await;
    }
    timeout(MESSAGE, read_message(&mut client, &mut request)).await??;
    let answers = if twin.together {
        tokio::join!(exchange(shared.target, &request), exchange(shared.target, &request))
    } else {
        (exchange(shared.target, &request).await, exchange(shared.target, &request).await)
    };
    if answers.0.is_ok() && answers.1.is_ok() {
        shared.record(&FaultPlan::Duplicate(twin));
    }
    match if twin.second_answers { answers.1 } else { answers.0 } {
        Ok(answer) => {
            client.write_all(&answer).await?;
            client.shutdown().await
        }
        Err(error) => {
            reset(client);
            Err(error)
        }
    }
}

async fn exchange(target: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut upstream = connect(target).await?;
    let mut answer = Vec::new();
    timeout(MESSAGE, async {
        upstream.write_all(request).await?;
        read_message(&mut upstream, &mut answer).await
    })
    .await??;
    Ok(answer)
}
