//! A watch as a stream: the same records in the same order, however slowly they are taken, and an end behind the error.
#![cfg(feature = "stream")]
#![allow(clippy::unwrap_used)]

mod fake;

use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use arrival_client::{ErrorKind, Subscription, Watch};
use fake::{Fake, Script, answer, call};
use futures_core::Stream;

/// The smallest executor: a thread that sleeps until it is woken.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(60)),
        }
    }
}

#[test]
fn a_stream_tells_every_record_and_ends_behind_the_error() {
    const RECORDS: usize = 500;
    let (end, ended) = channel::<()>();
    let stream = move |mut stream: UnixStream| {
        call(&mut stream);
        answer(&mut stream, r#"{"token":"t"}"#, true).unwrap();
        let complete =
            r#"{"notice":{"cursor":"1-0","time_ns":5,"kind":"snapshot","complete":true}}"#;
        answer(&mut stream, complete, true).unwrap();
        for number in 1..RECORDS {
            let state = format!(
                r#"{{"notice":{{"cursor":"1-{number}","time_ns":5,"kind":"state","state":{{"service":"s{number}","state":"RUNNING"}}}}}}"#
            );
            answer(&mut stream, &state, true).unwrap();
        }
        // Something that no waiting cures.
        let _ = ended.recv_timeout(Duration::from_secs(60));
        let _ = answer(&mut stream, r#"{"notice":17}"#, true);
    };
    let calls = |_stream: UnixStream| {};
    let fake = Fake::new(vec![Box::new(stream) as Script, Box::new(calls)]);
    let watch = Watch::open(&fake.root(), Subscription::default()).unwrap();
    let mut stream = watch.into_stream().unwrap();
    let mut next = || block_on(poll_fn(|context| Pin::new(&mut stream).poll_next(context)));
    for number in 0..RECORDS {
        // Slower than they come, now and then.
        if number % 97 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let notice = next().unwrap().unwrap();
        assert_eq!(notice.cursor, format!("1-{number}"));
    }
    end.send(()).unwrap();
    assert_eq!(next().unwrap().unwrap_err().kind(), ErrorKind::Protocol);
    assert!(next().is_none());
    assert!(next().is_none());
}
