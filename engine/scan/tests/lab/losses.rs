//! What is lost, late, or silent: asked again as often as it pays, waited for as long as it can come.

use std::{net::UdpSocket, thread, time::Duration};

use portreeve_model::{PortState, Reason};
use portreeve_scan::{BackendChoice, Control, Event, PacketsPerSecond, ScanConfig};

use crate::{
    network::{Lab, run},
    scans::{in_kernel, moderate, prepare, scan},
    sink::open_far,
    watch::Watch,
};

#[test]
fn only_the_silent_are_asked_again() {
    let Some(lab) = Lab::whole() else { return };
    lab.filter("ip daddr 10.99.128.9 drop");
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig { retries: 2, ..moderate("10.99.128.8-10.99.128.10", "1-50") });
    let probes = watch.finish();
    let to = |address: &str| probes.iter().filter(|probe| probe.address.to_string() == address).count();
    assert_eq!((to("10.99.128.8"), to("10.99.128.9"), to("10.99.128.10")), (50, 150, 50));
    assert_eq!(found.ports.len(), 100);
    assert_eq!(found.report.miss_estimate, Some(0.0));
}

#[test]
fn what_is_lost_is_asked_for_again_until_nothing_is_missing_and_the_loss_is_told() {
    let Some(lab) = Lab::whole() else { return };
    // One probe in twenty is lost, and one answer in twenty.
    lab.far(|| {
        let rules = "table ip pr {
                     chain input { type filter hook input priority 0; numgen random mod 20 0 drop\n}
                     chain output { type filter hook output priority 0; numgen random mod 20 0 drop\n}
                     }";
        run("nft", &[rules]);
    });
    let watch = lab.far(Watch::start);
    let found = scan(moderate("10.99.128.0/28", "1-1000"));
    let probes = watch.finish().len();
    assert_eq!(found.ports.len(), 16_000);
    assert!(probes <= 16_000 * 135 / 100, "{probes} probes to 16000 targets");
    assert_eq!(found.report.miss_estimate, Some(0.0));
    // All have answered, so what went unanswered is known exactly; what was sent is the watch's own count.
    let lost = found.report.loss_estimate.expect("there were retries");
    let truth = (probes - 16_000) as f32 / probes as f32;
    assert!((lost - truth).abs() < 0.002, "{lost} estimated, {truth} lost");
}

#[test]
fn a_lossy_path_to_silent_ports_costs_no_more_than_it_may() {
    let Some(lab) = Lab::whole() else { return };
    lab.filter("tcp dport 301-1000 drop; numgen random mod 10 0 drop");
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig { wait: Duration::from_millis(300), ..moderate("10.99.128.0/29", "1-1000") });
    let probes = watch.finish().len();
    // A tenth is lost at each attempt: of 2,400 that answer 24 are missing after two, and 0.2 after four.
    assert!(found.ports.len() >= 2_395, "{} of 2400", found.ports.len());
    assert!(probes <= 4 * 8_000, "{probes} probes, twice what two attempts take is the most");
    let lost = found.report.loss_estimate.expect("there were retries");
    assert!((0.07..0.13).contains(&lost), "0.1 expected, {lost} estimated");
    let (missed, bound) =
        (found.report.miss_estimate.expect("known"), found.report.miss_bound.expect("known"));
    assert!(missed <= bound && bound < 0.01, "{missed} {bound}");
}

#[test]
fn a_path_that_takes_no_more_is_not_pressed() {
    let Some(lab) = Lab::whole() else { return };
    // A router that passes 5,000 packets a second, asked for 30,000: five of six are lost.
    lab.filter("limit rate over 5000/second burst 50 packets drop");
    let watch = lab.far(Watch::start);
    let rate = PacketsPerSecond(30_000);
    let found = scan(ScanConfig { rate, ..moderate("10.99.128.0/28", "1-1000") });
    let probes = watch.finish().len();
    assert_eq!(found.ports.len(), 16_000, "{:?}", found.report);
    assert!(probes <= 64_000, "{probes} probes");
    let lost = found.report.loss_estimate.expect("there were retries");
    let truth = (probes - 16_000) as f32 / probes as f32;
    assert!((lost - truth).abs() < 0.01, "{lost} estimated, {truth} lost");
}

#[test]
fn a_scan_without_retries_asks_once_whatever_is_lost() {
    let Some(lab) = Lab::whole() else { return };
    lab.filter("numgen random mod 10 0 drop");
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig { retries: 0, ..moderate("10.99.128.0/30", "1-500") });
    assert_eq!(watch.finish().len(), 2_000);
    assert_eq!((found.report.miss_estimate, found.report.loss_estimate), (None, None));
}

#[test]
fn the_wait_ends_when_nothing_can_come_any_more() {
    let Some(lab) = Lab::whole() else { return };
    lab.filter("tcp dport 83 drop");
    let patient = |ports| ScanConfig { wait: Duration::from_secs(20), ..moderate("10.99.128.1", ports) };
    // Everyone has answered.
    assert!(scan(patient("80-82")).report.duration < Duration::from_secs(2));
    // One port is silent, but its host answers others at once.
    let found = scan(patient("80-83"));
    assert_eq!(found.ports.len(), 3);
    assert!(found.report.duration < Duration::from_secs(4), "{:?}", found.report.duration);
}

/// RADIUS servers hold a refusal for a second, while the kernel beside them says at once that a port is closed.
#[test]
fn a_datagrams_answer_is_waited_for_while_the_program_takes_its_time() {
    let Some(lab) = Lab::whole() else { return };
    lab.far(|| {
        let socket = UdpSocket::bind("10.99.128.1:1812").expect("port 1812");
        thread::spawn(move || {
            let (_, from) = socket.recv_from(&mut [0; 64]).expect("a datagram");
            thread::sleep(Duration::from_secs(1));
            socket.send_to(b"no", from).expect("sent");
        });
    });
    let found =
        scan(ScanConfig { wait: Duration::from_secs(20), ..moderate("10.99.128.1", "U:1812-1813,U:1815") });
    assert_eq!(found.port("10.99.128.1", 1812), Some((PortState::Open, Reason::UdpReply)));
    assert_eq!(found.port("10.99.128.1", 1813), Some((PortState::Closed, Reason::PortUnreachable)));
}

/// 80,000 answers are taken a second, for a second none, and several times as many come: the ring and what waits behind
/// it would overflow.
fn taken_slowly(config: ScanConfig) {
    let scan = prepare(ScanConfig { retries: 0, ..config }).expect("prepared");
    let mut taken = 0;
    let report = scan.run(&Control::new(), &mut |event| {
        taken += u32::from(matches!(event, Event::Port(_)));
        if taken % 800 == 0 {
            thread::sleep(Duration::from_millis(if taken == 80_000 { 1_000 } else { 10 }));
        }
    });
    let report = report.expect("the scan runs");
    assert_eq!(taken, 32_768 * 12, "{report:?}");
}

#[test]
fn who_takes_what_is_found_slowly_slows_the_probes_and_loses_nothing() {
    let Some(_lab) = Lab::whole() else { return };
    let (rate, backend) = (PacketsPerSecond(500_000), BackendChoice::Xdp);
    taken_slowly(ScanConfig { rate, backend, ..moderate("10.99.128.0/17", "1-12") });
}

#[test]
fn who_takes_what_is_found_slowly_slows_programs_that_send_too() {
    let Some(lab) = Lab::whole() else { return };
    let _open = open_far(&lab);
    let rate = PacketsPerSecond(300_000);
    taken_slowly(ScanConfig { rate, report_closed: true, ..in_kernel("10.99.128.0/17", "1-12") });
}
