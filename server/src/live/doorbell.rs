//! Carries events between server processes over one database, by LISTEN and NOTIFY.
//!
//! Commits that notify wait for each other in PostgreSQL, so events are gathered for a tenth of a second and sent from a
//! connection of their own, never in the transaction of what they tell of. What does not get through is not lost
//! data: pages are told to read again.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Event;

const CHANNEL: &str = "portreeve_live";
const GATHER: Duration = Duration::from_millis(100);
/// PostgreSQL takes payloads of less than 8,000 bytes.
const PAYLOAD: usize = 7_900;
/// More messages than this a round, and the pages of other processes are told to read again instead.
const MESSAGES: usize = 8;
const RETRY: Duration = Duration::from_secs(1);

/// What goes over the wire.
#[derive(Serialize, Deserialize)]
struct Message {
    /// The process that sent it, which has told its own pages already.
    from: Uuid,
    events: Vec<Event>,
}

/// Sends what this process publishes, until the sender is gone or the server stops.
pub(super) async fn send(
    pool: PgPool,
    from: Uuid,
    mut events: mpsc::Receiver<Arc<Event>>,
    shutdown: CancellationToken,
) {
    let rounds = async {
        while let Some(first) = events.recv().await {
            tokio::time::sleep(GATHER).await;
            let mut gathered = vec![first];
            while let Ok(event) = events.try_recv() {
                gathered.push(event);
            }
            for payload in payloads(from, &gathered) {
                if let Err(error) = crate::store::live::notify(&pool, CHANNEL, &payload).await {
                    tracing::debug!(%error, "other servers were not told; their pages read again later");
                }
            }
        }
    };
    shutdown.run_until_cancelled(rounds).await;
}

/// Tells this process's pages what others publish, until the server stops.
pub(super) async fn receive(
    pool: PgPool,
    own: Uuid,
    pages: broadcast::Sender<Arc<Event>>,
    shutdown: CancellationToken,
) {
    let rounds = async {
        loop {
            if let Err(error) = listen(&pool, own, &pages).await {
                tracing::debug!(%error, "listening to other servers failed; trying again");
            }
            tell(&pages, Event::Resync);
            tokio::time::sleep(RETRY).await;
        }
    };
    shutdown.run_until_cancelled(rounds).await;
}

/// Until the connection fails. A lost one makes events unknown, hence [`Event::Resync`].
async fn listen(pool: &PgPool, own: Uuid, pages: &broadcast::Sender<Arc<Event>>) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    while let Some(notification) = listener.try_recv().await? {
        match serde_json::from_str::<Message>(notification.payload()) {
            Ok(message) if message.from == own => {}
            Ok(message) => message.events.into_iter().for_each(|event| tell(pages, event)),
            Err(error) => tracing::debug!(%error, "another server sent an event of another version"),
        }
    }
    Ok(())
}

fn tell(pages: &broadcast::Sender<Arc<Event>>, event: Event) {
    let _nobody_listens = pages.send(Arc::new(event));
}

/// The events in as few messages as they fit; of a scan only the newest state.
fn payloads(from: Uuid, events: &[Arc<Event>]) -> Vec<String> {
    let write = |events: Vec<Event>| serde_json::to_string(&Message { from, events }).unwrap_or_default();
    let mut payloads = Vec::new();
    let mut batch: Vec<Event> = Vec::new();
    for (position, event) in events.iter().enumerate() {
        if is_outdated(event, &events[position + 1..]) {
            continue;
        }
        batch.push(Event::clone(event));
        if write(batch.clone()).len() > PAYLOAD {
            let last = batch.pop();
            payloads.push(write(std::mem::take(&mut batch)));
            batch.extend(last);
        }
    }
    payloads.push(write(batch));
    let all_fit = payloads.iter().all(|payload| payload.len() <= PAYLOAD) && payloads.len() <= MESSAGES;
    if all_fit { payloads } else { vec![write(vec![Event::Resync])] }
}

fn is_outdated(event: &Event, later: &[Arc<Event>]) -> bool {
    let Event::Scan(scan) = event else { return false };
    later.iter().any(|other| matches!(&**other, Event::Scan(newer) if newer.scan_id == scan.scan_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{AgentEvent, Live, ScanEvent};
    use crate::test_support::TestApp;

    fn scan(percent: f32) -> Arc<Event> {
        Arc::new(Event::Scan(ScanEvent {
            scan_id: 1,
            network_id: 2,
            status: "running".to_owned(),
            progress_percent: Some(percent),
            progress_message: None,
            open_ports: 0,
            probes_sent: 0,
            probes_total: 0,
            rate_pps: 0,
        }))
    }

    fn agent(id: i64, name: String) -> Event {
        Event::Agent(AgentEvent { id, name, online: true })
    }

    #[test]
    fn only_a_scans_newest_state_is_sent() {
        let sent = payloads(Uuid::nil(), &[scan(1.0), scan(2.0)]);
        assert_eq!(sent.len(), 1);
        assert!(sent[0].contains("2.0") && !sent[0].contains("1.0"), "{}", sent[0]);
    }

    #[test]
    fn much_is_split_and_too_much_becomes_resync() {
        let events =
            |count: i64, size| (0..count).map(|id| Arc::new(agent(id, "x".repeat(size)))).collect::<Vec<_>>();
        let sent = payloads(Uuid::nil(), &events(100, 200));
        assert!(sent.len() > 1 && sent.iter().all(|payload| payload.len() <= PAYLOAD));
        assert!(payloads(Uuid::nil(), &events(1_000, 200))[0].contains("resync"));
        assert!(payloads(Uuid::nil(), &events(1, 9_000))[0].contains("resync"));
    }

    #[tokio::test]
    async fn what_one_server_publishes_the_other_tells_once() {
        let app = TestApp::new().await;
        let (one, other, shutdown) = (Live::new(), Live::new(), CancellationToken::new());
        let mut pages = other.subscribe();
        let mut own_pages = one.subscribe();
        let tasks = [
            tokio::spawn(one.clone().join(app.pool().clone(), shutdown.clone())),
            tokio::spawn(other.clone().join(app.pool().clone(), shutdown.clone())),
        ];
        // The listener may still be connecting: publish until it gets through.
        let received = loop {
            one.publish(agent(7, "seven".to_owned()));
            if let Ok(event) = tokio::time::timeout(Duration::from_millis(300), pages.recv()).await {
                break event.unwrap();
            }
        };
        assert_eq!(*received, agent(7, "seven".to_owned()));
        assert_eq!(*own_pages.recv().await.unwrap(), agent(7, "seven".to_owned()));
        shutdown.cancel();
        for task in tasks {
            task.await.unwrap();
        }
    }
}
