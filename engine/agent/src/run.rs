//! A scan with identification beside it: one stream of records.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use portreeve_model::{HostSighting, Observation, protocol::Record};
use portreeve_probes::{Identifier, mac};
use portreeve_scan::{Checkpoint, Control, Event, Scan, ScanError, ScanReport, SuspiciousHost};
use tokio::{sync::mpsc, task::spawn_blocking, time::interval};

use crate::{identification::Identification, profiles::Profiles};

/// Batches of events that may wait between the engine's threads and the runtime.
const BATCHES: usize = 32;

/// How far identification is.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    answered: AtomicU64,
    left_out: AtomicU64,
}

impl Tally {
    /// Open ports that were or will be asked what answers there.
    pub fn accepted(&self) -> u64 {
        self.0.accepted.load(Relaxed)
    }

    /// Those that have been asked.
    pub fn answered(&self) -> u64 {
        self.0.answered.load(Relaxed)
    }

    /// Open ports that are not asked, because too much is open on their host.
    pub fn left_out(&self) -> u64 {
        self.0.left_out.load(Relaxed)
    }

    fn copy(&self, identification: &Identification) {
        self.0.accepted.store(identification.accepted, Relaxed);
        self.0.answered.store(identification.answered, Relaxed);
        self.0.left_out.store(identification.left_out, Relaxed);
    }
}

/// What comes out of a running scan.
#[derive(Clone, Debug)]
pub enum Found {
    /// How far it is, if the scan was asked for that. All records until then came before.
    Checkpoint(Box<Checkpoint>),
    /// Something that it found.
    Record(Record),
    /// A host whose open ports mean nothing: no more of them come.
    Suspicious(SuspiciousHost),
}

/// Runs a prepared scan and, with an `identifier`, asks every open port what answers there while the scan
/// goes on; so it does for the open ports of `known`, which an earlier scan left unasked. What is found goes to
/// `out` as it comes; if nobody takes it any more, the scan is cancelled. At the end hosts are judged by their
/// services.
///
/// Cancelling `control` stops both within a second; the report tells that the scan was not completed.
pub async fn run(
    scan: Scan,
    control: Control,
    identifier: Option<Arc<Identifier>>,
    known: &[Observation],
    tally: Tally,
    out: mpsc::Sender<Found>,
) -> Result<ScanReport, ScanError> {
    let _whatever_happens = CancelOnDrop(control.clone());
    let (sender, mut events) = mpsc::channel(BATCHES);
    let scanning = spawn_blocking({
        let control = control.clone();
        move || {
            scan.run_in_batches(&control, &mut |batch| {
                if sender.blocking_send(batch).is_err() {
                    control.cancel();
                }
            })
        }
    });
    let mut identification = identifier.map(Identification::new);
    if let Some(identification) = &mut identification {
        for observation in known {
            identification.offer(observation);
        }
    }
    let mut look = interval(Duration::from_millis(200));
    let mut profiles = Profiles::default();
    let mut ready = Vec::new();
    let mut scan_goes_on = true;
    while scan_goes_on || identification.as_ref().is_some_and(|identification| !identification.is_idle()) {
        tokio::select! {
            batch = events.recv(), if scan_goes_on => {
                scan_goes_on = batch.is_some();
                let events = batch.unwrap_or_default().into_iter();
                ready.extend(events.map(|event| into_found(event, identification.as_mut())));
            }
            Some(service) = next_service(identification.as_mut()) => {
                ready.push(Found::Record(Record::Service(Box::new(service))));
            }
            _ = look.tick() => {}
        }
        if let Some(identification) = &mut identification {
            tally.copy(identification);
            if control.is_cancelled() {
                identification.stop();
            }
        }
        for found in ready.drain(..) {
            if let (true, Found::Record(record)) = (identification.is_some(), &found) {
                profiles.learn(record);
            }
            if out.send(found).await.is_err() {
                control.cancel();
                events.close();
            }
        }
    }
    for profile in profiles.judge() {
        if out.send(Found::Record(profile)).await.is_err() {
            break;
        }
    }
    match scanning.await {
        Ok(report) => report,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Stops the engine's threads when nobody waits for them any more.
struct CancelOnDrop(Control);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn into_found(event: Event, identification: Option<&mut Identification>) -> Found {
    match event {
        Event::Checkpoint(checkpoint) => Found::Checkpoint(checkpoint),
        Event::Host(sighting) => {
            let mac_vendor = sighting.mac.and_then(mac::vendor);
            Found::Record(Record::Host(Box::new(HostSighting { mac_vendor, ..sighting })))
        }
        Event::Suspicious(host) => {
            if let Some(identification) = identification {
                identification.leave_out(host.address);
            }
            Found::Suspicious(host)
        }
        Event::Port(observation) => {
            if let Some(identification) = identification {
                identification.offer(&observation);
            }
            Found::Record(Record::Port(observation))
        }
    }
}

async fn next_service(identification: Option<&mut Identification>) -> Option<portreeve_model::Service> {
    identification?.next().await
}
