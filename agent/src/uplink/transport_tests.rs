//! Requests to several addresses, over real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// What an address does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// Nothing listens there.
    Refuses,
    /// Closes it after the request.
    Closes,
    /// Closes the first one after the request, and answers the others.
    ClosesTheFirst,
    /// Reads the request and says nothing.
    IsSilent,
    Answers(u16),
}

/// An address, and how many connections it has seen.
struct Peer {
    url: Url,
    connections: Arc<AtomicUsize>,
}

async fn start(behaviour: Behaviour) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = connections.clone();
    if behaviour == Behaviour::Refuses {
        return Peer { url, connections };
    }
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let number = seen.fetch_add(1, Ordering::Relaxed);
            stream.read_buf(&mut Vec::new()).await.unwrap();
            let status = match behaviour {
                Behaviour::Answers(status) => status,
                Behaviour::ClosesTheFirst if number > 0 => 200,
                Behaviour::IsSilent => {
                    tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
                    continue;
                }
                _ => continue,
            };
            let head = format!("HTTP/1.1 {status} X\r\nretry-after: 7\r\nconnection: close\r\n");
            stream.write_all(format!("{head}content-length: 2\r\n\r\nok").as_bytes()).await.unwrap();
        }
    });
    Peer { url, connections }
}

/// A transport to addresses that behave like this.
async fn transport(behaviours: &[Behaviour]) -> (Transport, Vec<Arc<AtomicUsize>>) {
    http_client::install_tls();
    let (mut urls, mut connections) = (Vec::new(), Vec::new());
    for behaviour in behaviours {
        let peer = start(*behaviour).await;
        urls.push(peer.url);
        connections.push(peer.connections);
    }
    let addresses = Addresses::in_order(urls, Duration::from_millis(300));
    (Transport::new(Arc::new(addresses), TlsFiles::default()).unwrap(), connections)
}

async fn ask(transport: &Transport) -> Result<HttpAnswer, RequestError> {
    transport.exchange(|to| transport.get(to, "x", None), ErrorForm::Problem, 100).await
}

#[tokio::test]
async fn request_that_fails_goes_to_the_next_address_and_the_next_request_begins_there() {
    for behaviour in [Behaviour::Refuses, Behaviour::Closes, Behaviour::IsSilent, Behaviour::Answers(503)] {
        let (transport, connections) = transport(&[behaviour, Behaviour::Answers(200), Behaviour::Answers(200)]).await;
        let began = clock::unix_millis();
        let answer = ask(&transport).await.unwrap();
        let waited = answer.timing.sent_at - began;
        assert_eq!(behaviour == Behaviour::IsSilent, waited >= 300, "{behaviour:?}: {waited} ms");
        assert_eq!((transport.base(), transport.addresses.switches()), (&transport.addresses.urls()[1], 1));
        let tries = connections[0].load(Ordering::Relaxed);
        ask(&transport).await.unwrap();
        let seen: Vec<usize> = connections.iter().map(|seen| seen.load(Ordering::Relaxed)).collect();
        assert_eq!(seen, [tries, 2, 0], "{behaviour:?}");
    }
}

#[tokio::test]
async fn stale_connection_costs_no_switch() {
    let (transport, connections) = transport(&[Behaviour::ClosesTheFirst, Behaviour::Answers(200)]).await;
    ask(&transport).await.unwrap();
    assert_eq!((connections[0].load(Ordering::Relaxed), connections[1].load(Ordering::Relaxed)), (2, 0));
    assert_eq!(transport.addresses.switches(), 0);
}

#[tokio::test]
async fn error_comes_after_a_whole_round() {
    let (transport, connections) =
        transport(&[Behaviour::Refuses, Behaviour::Answers(503), Behaviour::Answers(503)]).await;
    let error = ask(&transport).await.err().unwrap();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(connections[1].load(Ordering::Relaxed) + connections[2].load(Ordering::Relaxed), 2);
    assert_eq!(transport.addresses.switches(), 0);
}

#[tokio::test]
async fn answer_about_the_request_is_no_reason_to_switch() {
    for status in [400, 401, 404, 413, 429, 500] {
        let (transport, connections) = transport(&[Behaviour::Answers(status), Behaviour::Answers(200)]).await;
        assert!(ask(&transport).await.is_err());
        assert_eq!(connections[1].load(Ordering::Relaxed), 0, "{status}");
    }
}

#[tokio::test]
async fn single_address_is_tried_once_and_has_no_short_limit() {
    let (transport, connections) = transport(&[Behaviour::Closes]).await;
    assert!(ask(&transport).await.is_err());
    assert_eq!(connections[0].load(Ordering::Relaxed), 1);
    assert_eq!(transport.addresses.answer_timeout(), None);
}

#[tokio::test]
async fn first_choice_is_ready_only_with_200() {
    for (behaviour, is_ready) in
        [(Behaviour::Answers(200), true), (Behaviour::Answers(503), false), (Behaviour::Refuses, false)]
    {
        let (transport, _) = transport(&[behaviour, Behaviour::Answers(200)]).await;
        assert_eq!(transport.is_first_choice_ready().await, is_ready, "{behaviour:?}");
    }
}
