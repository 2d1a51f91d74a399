//! Hosts that answer on every port, and whose word that is.
//!
//! Open ports of such a host mean nothing and raise no alert; the host does. But an agent speaks for what it reported itself:
//! a port that another agent found open in its part of the scan is told as ever. Otherwise one agent that has been taken
//! over could hush up what all others see. Nothing is hushed up for good: ports that are open still in a scan in which their
//! host is not suspicious are told then.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde_json::json;

use super::{
    AlertKind,
    group::{self, APART},
};
use crate::{
    policy::severity::severity,
    store::{alert_evaluation::AlertRow, scan_lifecycle::RunningScan},
};

/// What one job of a scan says.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The job, by its place in the scan.
    pub shard_index: i32,
    /// The agent that did it; absent where it is gone, or nobody did it.
    pub agent_id: Option<i64>,
    /// Hosts on which everything answers.
    pub hosts: Vec<IpAddr>,
}

/// Who calls which hosts suspicious.
#[derive(Clone, Debug, Default)]
pub struct Suspicion {
    /// Who did each job.
    agents: BTreeMap<i32, Option<i64>>,
    /// Hosts by the agent that names them.
    named: BTreeMap<Option<i64>, BTreeSet<IpAddr>>,
}

impl Suspicion {
    /// From what the jobs say; nothing is believed about addresses that the scan was not for.
    pub fn new(verdicts: Vec<Verdict>, block: IpNet) -> Self {
        let mut suspicion = Self::default();
        for Verdict { shard_index, agent_id, hosts } in verdicts {
            suspicion.agents.insert(shard_index, agent_id);
            let hosts = hosts.iter().map(IpAddr::to_canonical).filter(|host| block.contains(host));
            suspicion.named.entry(agent_id).or_default().extend(hosts);
        }
        suspicion
    }

    /// Whether whoever reported a port of the host calls the host suspicious. Without a job that it comes from, all who
    /// worked on the scan must.
    pub fn covers(&self, host: IpAddr, shard_index: Option<i32>) -> bool {
        let named_by = |agent: &Option<i64>| {
            agent.is_some() && self.named.get(agent).is_some_and(|hosts| hosts.contains(&host))
        };
        match shard_index {
            Some(shard) => self.agents.get(&shard).is_some_and(named_by),
            None => !self.agents.is_empty() && self.agents.values().all(named_by),
        }
    }

    /// One alert for each host, or one for all where there are many: behind a filter that answers for everyone they come
    /// by the thousand.
    pub(super) fn rows(&self, scan: &RunningScan) -> Vec<AlertRow> {
        const WHAT: &str = "a SYN proxy, a tarpit or a trap; open ports there mean nothing";
        let kind = AlertKind::SuspiciousHost;
        let row = |host, message, detail, about: &str| AlertRow {
            kind,
            severity: severity(kind, false, false),
            network_id: Some(scan.network_id),
            scan_id: Some(scan.id),
            agent_id: None,
            host,
            place: None,
            global_port_id: None,
            message,
            detail,
            dedup_key: format!("network-{}/{kind}/{about}", scan.network_id),
        };
        let hosts: BTreeSet<IpAddr> = self.named.values().flatten().copied().collect();
        if hosts.len() <= APART {
            let one = |host: &IpAddr| {
                let message = format!("{host} answers on every port: {WHAT}");
                row(Some(*host), message, json!({}), &host.to_string())
            };
            return hosts.iter().map(one).collect();
        }
        let message = format!("{} hosts answer on every port: {WHAT}", hosts.len());
        vec![row(None, message, group::listed(hosts.iter().map(ToString::to_string)), "many")]
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use portreeve_model::protocol::{JobOutcome, JobSummary, LeasedJob, Record};

    use super::*;
    use crate::test_support::{
        TestApp,
        scans::{Worker, manual, network, open, plan, texts},
    };

    const ALERTS: &str = "select kind || ' ' || resolution_status || ' ' || coalesce(host(address), 'no host') || ' '
        || coalesce(detail->>'place_count', port::text, '-') from alerts where network_id = $1 or network_id is null
        order by created_at, kind desc, address, port";

    #[test]
    fn an_agent_speaks_for_its_own_jobs() {
        let host: IpAddr = "10.99.0.7".parse().expect("an address");
        let verdict = |shard_index, agent_id, named: bool| Verdict {
            shard_index,
            agent_id,
            hosts: named.then_some(host).into_iter().collect(),
        };
        let block = "10.99.0.0/24".parse().expect("a block");
        // One agent did the jobs 0 and 1, another one job 2; nobody is left who did job 3.
        let jobs = |second| {
            vec![
                verdict(0, Some(1), true),
                verdict(1, Some(1), false),
                verdict(2, Some(2), second),
                verdict(3, None, true),
            ]
        };
        let one = Suspicion::new(jobs(false), block);
        let covered = |suspicion: &Suspicion| {
            [Some(0), Some(1), Some(2), Some(3), Some(9), None].map(|shard| suspicion.covers(host, shard))
        };
        assert_eq!(covered(&one), [true, true, false, false, false, false]);
        assert_eq!(covered(&Suspicion::new(jobs(true), block)), [true, true, true, false, false, false]);
        let agreed = Suspicion::new(jobs(true).into_iter().take(3).collect(), block);
        assert_eq!(covered(&agreed), [true, true, true, false, false, true]);
        assert_eq!(covered(&Suspicion::default()), [false; 6]);
        let elsewhere = Suspicion::new(jobs(true), "10.98.0.0/24".parse().expect("a block"));
        assert_eq!(covered(&elsewhere), [false; 6]);
    }

    fn open_at(app: &TestApp, hosts: &[&str], ports: &[u16]) -> Vec<Record> {
        hosts.iter().flat_map(|host| ports.iter().map(|port| open(app, host, *port))).collect()
    }

    fn naming(suspicious: &[&str]) -> JobSummary {
        let suspicious_hosts = suspicious.iter().map(|host| host.parse().expect("an address")).collect();
        JobSummary { suspicious_hosts, ..JobSummary::default() }
    }

    /// A scan that finds three ports open at each of these hosts, and takes some for suspicious.
    async fn scan(app: &TestApp, worker: &Worker<'_>, network_id: i64, hosts: &[&str], suspicious: &[&str]) {
        app.clock().advance(TimeDelta::minutes(1));
        plan(app, &manual(network_id)).await;
        let job = worker.lease().await.expect("the job just planned");
        hand_in(worker, &job, &open_at(app, hosts, &[22, 80, 443]), suspicious).await;
    }

    async fn hand_in(worker: &Worker<'_>, job: &LeasedJob, records: &[Record], suspicious: &[&str]) {
        worker.put(job, 0, records).await.assert_status(200);
        worker.finish_with(job, 1, JobOutcome::Completed, naming(suspicious)).await.assert_status(204);
    }

    #[tokio::test]
    async fn a_host_that_answers_everything_is_one_alert_and_its_ports_are_none() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "n", worker.client.agent_id()).await;
        let alerts = || texts(&app, ALERTS, network_id);
        scan(&app, &worker, network_id, &["10.99.0.7"], &["10.99.0.7"]).await;
        assert_eq!(alerts().await, ["suspicious_host open 10.99.0.7 -"]);
        scan(&app, &worker, network_id, &["10.99.0.7"], &["10.99.0.7"]).await;
        assert_eq!(alerts().await.len(), 1, "it is told once");
        scan(&app, &worker, network_id, &["10.99.0.8"], &["10.99.0.7"]).await;
        let told = |host: &str| [22, 80, 443].map(|port| format!("new_port open {host} {port}"));
        assert_eq!(alerts().await[1..], told("10.99.0.8"));
        scan(&app, &worker, network_id, &["10.99.0.7", "10.99.0.8"], &[]).await;
        let now = alerts().await;
        assert_eq!(now[0], "suspicious_host resolved 10.99.0.7 -");
        assert_eq!(now[4..], told("10.99.0.7"), "what was hushed up and is open still");
        scan(&app, &worker, network_id, &["10.99.0.7", "10.99.0.8"], &[]).await;
        assert_eq!(alerts().await.len(), 7, "each is told once");
    }

    #[tokio::test]
    async fn many_of_them_share_an_alert() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "n", worker.client.agent_id()).await;
        let hosts: Vec<String> = (1..=11).map(|last| format!("10.99.0.{last}")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        scan(&app, &worker, network_id, &hosts, &hosts).await;
        assert_eq!(texts(&app, ALERTS, network_id).await, ["suspicious_host open no host 11"]);
    }

    #[tokio::test]
    async fn a_lying_agent_hushes_up_nothing_that_another_saw() {
        let app = TestApp::new().await;
        let (honest, liar) = (Worker::new(&app, "honest").await, Worker::new(&app, "liar").await);
        let network_id = network(&app, "n", honest.client.agent_id()).await;
        sqlx::query("update networks set shards = 2 where id = $1")
            .bind(network_id)
            .execute(app.pool())
            .await
            .expect("cut in two");
        plan(&app, &manual(network_id)).await;
        let own = honest.lease().await.expect("a job");
        let other = liar.lease().await.expect("another");
        // The liar claims a port of the honest agent's before that one has told it, and one afterwards.
        liar.put(&other, 0, &open_at(&app, &["10.99.0.7"], &[22, 8080])).await.assert_status(200);
        honest.put(&own, 0, &open_at(&app, &["10.99.0.7"], &[22, 80, 443])).await.assert_status(200);
        liar.put(&other, 1, &open_at(&app, &["10.99.0.7"], &[443])).await.assert_status(200);
        let lies = naming(&["10.99.0.7", "10.98.0.1"]);
        liar.finish_with(&other, 2, JobOutcome::Completed, lies).await.assert_status(204);
        honest.finish(&own, 1, JobOutcome::Completed).await.assert_status(204);
        assert_eq!(
            texts(&app, ALERTS, network_id).await,
            [
                "suspicious_host open 10.99.0.7 -",
                "new_port open 10.99.0.7 22",
                "new_port open 10.99.0.7 80",
                "new_port open 10.99.0.7 443",
            ],
            "all but the liar's own; and no word of a host that the scan was not for"
        );
    }
}
