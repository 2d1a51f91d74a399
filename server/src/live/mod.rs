//! Tells open pages what happens, as it happens.
//!
//! Handlers and tasks [`Live::publish`]; every page has an [`Live::subscribe`]d stream (`GET /api/events`). An event
//! says that something changed and shows its newest figures; it may be lost (a slow page, a server that
//! restarts), and then the page gets [`Event::Resync`] and reads again. So never publish inside a transaction:
//! publish after its commit.

mod doorbell;

use std::sync::{Arc, Mutex};

use portreeve_model::Transport;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

/// A page that is so many events behind is told to read again.
const BUFFER: usize = 1024;

/// Progress or a new status of a scan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScanEvent {
    /// The scan.
    pub scan_id: i64,
    /// Its network.
    pub network_id: i64,
    /// `planned`, `running`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// 0-100.
    pub progress_percent: Option<f32>,
    /// What it is at, for people.
    pub progress_message: Option<String>,
    /// Open ports found so far.
    pub open_ports: i64,
    /// Probes sent so far.
    pub probes_sent: i64,
    /// Probes to be sent.
    pub probes_total: i64,
    /// Packets per second at the moment.
    pub rate_pps: i64,
}

/// A port that a running scan found or identified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PortEvent {
    /// The scan.
    pub scan_id: i64,
    /// Its network.
    pub network_id: i64,
    /// The host's address.
    pub ip: String,
    /// The port.
    pub port: u16,
    /// The port's transport.
    pub protocol: Transport,
    /// `open`, `closed`, `filtered` or `unreachable`.
    pub state: String,
    /// What answers there.
    pub service: Option<String>,
    /// Which product.
    pub product: Option<String>,
    /// Which version.
    pub version: Option<String>,
}

/// An alert that was raised or changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertEvent {
    /// The alert.
    pub id: i64,
    /// Its type, as `new_port`.
    pub alert_type: String,
    /// `critical`, `high`, `medium` or `info`.
    pub severity: String,
    /// Its network, unless it is about the whole installation.
    pub network_id: Option<i64>,
    /// The address it is about.
    pub ip: Option<String>,
    /// The port it is about.
    pub port: Option<u16>,
    /// What it says.
    pub message: String,
}

/// An agent that came or went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentEvent {
    /// The agent.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Whether it can be reached.
    pub online: bool,
}

/// Something that open pages want to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", content = "data", rename_all = "lowercase")]
pub enum Event {
    /// An agent came or went.
    Agent(AgentEvent),
    /// An alert was raised or changed.
    Alert(AlertEvent),
    /// A port was found or identified.
    Port(PortEvent),
    /// Events were lost: read everything again.
    Resync,
    /// A scan went on.
    Scan(ScanEvent),
}

impl Event {
    /// The event's name in the stream.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Alert(_) => "alert",
            Self::Port(_) => "port",
            Self::Resync => "resync",
            Self::Scan(_) => "scan",
        }
    }

    /// The network the event is about: users who do not see it do not get the event.
    pub const fn network_id(&self) -> Option<i64> {
        match self {
            Self::Agent(_) | Self::Resync => None,
            Self::Alert(alert) => alert.network_id,
            Self::Port(port) => Some(port.network_id),
            Self::Scan(scan) => Some(scan.network_id),
        }
    }
}

/// The bus between what happens and the pages that show it. Clones share it.
#[derive(Clone, Debug)]
pub struct Live {
    /// To this process's pages.
    pages: broadcast::Sender<Arc<Event>>,
    /// To the other processes.
    others: mpsc::Sender<Arc<Event>>,
    /// Taken by [`Self::join`].
    outgoing: Arc<Mutex<Option<mpsc::Receiver<Arc<Event>>>>>,
}

impl Live {
    /// A bus without listeners, within this process.
    pub fn new() -> Self {
        let (others, outgoing) = mpsc::channel(BUFFER);
        Self { pages: broadcast::channel(BUFFER).0, others, outgoing: Arc::new(Mutex::new(Some(outgoing))) }
    }

    /// Tells everyone. Never waits, never fails: without listeners the event is dropped.
    pub fn publish(&self, event: Event) {
        let event = Arc::new(event);
        // A full queue means that the database is away: the others' pages read again when it is back.
        let _queue_is_full = self.others.try_send(Arc::clone(&event));
        let _nobody_listens = self.pages.send(event);
    }

    /// What happens from now on. [`broadcast::error::RecvError::Lagged`] means that events were lost.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.pages.subscribe()
    }

    /// Joins the buses of all server processes over one database, until the server stops.
    pub async fn join(self, pool: PgPool, shutdown: CancellationToken) {
        let taken = self.outgoing.lock().ok().and_then(|mut outgoing| outgoing.take());
        let Some(outgoing) = taken else { return };
        let own = Uuid::new_v4();
        tokio::join!(
            doorbell::send(pool.clone(), own, outgoing, shutdown.clone()),
            doorbell::receive(pool, own, self.pages, shutdown),
        );
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}
