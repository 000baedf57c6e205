//! Exchanges with servers that answer in every legal way, and in some others, over real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::downstream::connections::{Connections, Failure, Target};

/// What a server does with one connection, whose number it gets.
type Serve = fn(TcpStream, usize) -> futures::future::BoxFuture<'static, ()>;

struct Server {
    connections: Connections,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    async fn start(serve: Serve) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&accepted);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, number));
            }
        });
        let target = Target {
            address,
            tls: None,
            connect: Duration::from_secs(5),
        };
        Self {
            connections: Connections::new(target, 4, Duration::from_secs(20)),
            accepted,
        }
    }

    async fn push(&self, body: usize) -> Result<(u16, Vec<u8>), Failure> {
        let head = format!("POST / HTTP/1.1\r\ncontent-length: {body}\r\n\r\n");
        let request = Outgoing {
            head: head.into_bytes(),
            body: vec![b'x'; body].into(),
        };
        let mut answer = self.connections.send(&request).await?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(Failure::Exchange)? {
            text.extend_from_slice(chunk);
        }
        Ok((answer.status.as_u16(), text))
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Reads a request; false at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length: usize = head.rsplit(' ').next().unwrap().parse().unwrap();
            if read.len() >= end + 4 + length {
                return true;
            }
        }
        if stream.read_buf(&mut read).await.is_ok_and(|read| read == 0) {
            return false;
        }
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_every_kind_of_body() {
    const ANSWERS: [&str; 4] = [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ndo\r\n2\r\nne\r\n0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
    ];
    let server = Server::start(|mut stream, _| {
        Box::pin(async move {
            for answer in ANSWERS.iter().cycle() {
                if !read_request(&mut stream).await {
                    return;
                }
                // In two parts, which may arrive apart.
                let (begin, end) = answer.as_bytes().split_at(answer.len() / 2);
                stream.write_all(begin).await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(end).await.unwrap();
            }
        })
    })
    .await;
    for (status, body) in [(204, ""), (200, "done"), (200, "done"), (503, "")].repeat(3) {
        let (found, text) = server.push(100_000).await.unwrap();
        assert_eq!((found, text.as_slice()), (status, body.as_bytes()));
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_or_says_so_is_not_used_again() {
    let server = Server::start(|mut stream, number| {
        Box::pin(async move {
            read_request(&mut stream).await;
            let answer: &[u8] = match number {
                // Closed without a word, and by its own word, and by its end.
                0 => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                1 => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: close\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
            };
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            // Until the client has closed it as well.
            let _ = stream.read(&mut [0; 16]).await;
        })
    })
    .await;
    for (number, body) in ["", "", "until the end"].into_iter().enumerate() {
        assert_eq!(server.push(10).await.unwrap(), (200, body.into()));
        assert_eq!(server.accepted(), number + 1);
        // The end of the first connection has to arrive before it can be noticed.
        while number == 0 && !server.connections.has_noticed_the_end() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn an_answer_may_come_before_all_is_sent() {
    let server = Server::start(|mut stream, _| {
        Box::pin(async move {
            let _ = stream.read(&mut [0; 1000]).await;
            let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig";
            stream.write_all(answer).await.unwrap();
            // It reads no more, and does not close either.
            std::future::pending::<()>().await;
        })
    })
    .await;
    for number in 1..=2 {
        let large = 64 << 20;
        assert_eq!(server.push(large).await.unwrap(), (413, b"big".to_vec()));
        assert_eq!(server.accepted(), number);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    let server = Server::start(|mut stream, number| {
        Box::pin(async move {
            read_request(&mut stream).await;
            let answer: &[u8] = match number {
                0 => b"",
                1 => b"HTTP/1.1 200 OK\r\ncontent",
                2 => b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
                3 => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfour",
                _ => &[b'a'; 100 << 10],
            };
            let _ = stream.write_all(answer).await;
        })
    })
    .await;
    for expected in [
        "closed before the answer",
        "closed before the answer",
        "not HTTP/1",
        "closed before the answer",
        "not HTTP/1",
    ] {
        let error = server.push(10).await.unwrap_err();
        assert!(matches!(error, Failure::Exchange(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
