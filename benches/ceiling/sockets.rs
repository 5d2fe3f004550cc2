//! The WebSocket half of the reference: requests as the controller sends them, to the analyzer of the bench, with or without the store.

use std::net::SocketAddr;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::course::Course;
use super::store::Group;
use crate::analyzer::{CORRELATION, Protocol};

/// Many requests on one connection. What is to be sent goes out in one write, what has come is taken in one read.
pub(crate) async fn shared(address: SocketAddr, mut course: Course, mut acknowledged: UnboundedReceiver<Group>) {
    let mut socket = connect(address, Protocol::Extended).await;
    let mut begin = course.begin();
    while !course.is_over() {
        for task in begin.drain(..) {
            socket.feed(Message::text(request(task))).await.expect("room for a frame");
        }
        socket.flush().await.expect("a write");
        begin = tokio::select! {
            Some(group) = acknowledged.recv() => course.acknowledged(group),
            message = socket.next() => {
                let mut ended = Vec::new();
                let mut next = Some(message);
                while let Some(message) = next {
                    if let Message::Text(text) = message.expect("an answer").expect("an answer") {
                        ended.push(task_of(&text));
                    }
                    next = socket.next().now_or_never();
                }
                course.ended(ended)
            }
        };
    }
}

/// A connection for each request.
pub(crate) async fn single(address: SocketAddr, mut course: Course, mut acknowledged: UnboundedReceiver<Group>) {
    let mut calls = FuturesUnordered::new();
    let mut begin = course.begin();
    while !course.is_over() {
        calls.extend(begin.drain(..).map(|task| call(address, task)));
        begin = tokio::select! {
            Some(group) = acknowledged.recv() => course.acknowledged(group),
            Some(task) = calls.next(), if !calls.is_empty() => {
                let mut ended = vec![task];
                while let Some(Some(task)) = calls.next().now_or_never() {
                    ended.push(task);
                }
                course.ended(ended)
            }
        };
    }
}

/// Connects, asks, takes the result, and answers the close.
async fn call(address: SocketAddr, task: u32) -> u32 {
    let mut socket = connect(address, Protocol::Base).await;
    socket.send(Message::text(request(task))).await.expect("a write");
    let answer = socket.next().await.expect("an answer").expect("an answer");
    assert!(answer.is_text(), "the result comes first");
    // The close, which is answered by the look for what comes after it.
    while let Some(Ok(_)) = socket.next().await {}
    task
}

async fn connect(address: SocketAddr, protocol: Protocol) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let config = Some(protocol.buffers());
    client_async_with_config(format!("ws://{address}/"), stream, config).await.expect("a WebSocket").0
}

/// As large as the frame that the controller sends for a task with one tool.
fn request(task: u32) -> String {
    format!(
        r#"{{"type":"static_analyze","id":"ceiling/{task:036}/1","model_slug":"m","app_number":1,"tools":["noop"],"config":{{}},"timestamp":"2027-01-15T08:00:00.000Z","attempt_token":"ceiling/{task:036}/1"}}"#
    )
}

fn task_of(answer: &str) -> u32 {
    let id = answer.strip_prefix(CORRELATION).and_then(|rest| rest.strip_prefix("ceiling/")).expect("an id of ours");
    id.split('/').next().and_then(|number| number.parse().ok()).expect("a task")
}
