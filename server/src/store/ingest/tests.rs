//! The set-based statements, against a real database.

use std::time::Instant;

use chrono::TimeDelta;
use portreeve_model::protocol::{Limits, Record};

use crate::{
    ingest::{self, Origin, Sightings},
    test_support::{
        TestApp,
        scans::{Worker, manual, network_of, open, plan, texts, value},
    },
};

/// Takes in batches of a whole scan, and prints how fast that was. The rates are figures to look at, not to test:
/// they are the machine's as much as ours.
#[tokio::test]
async fn fifty_thousand_ports_are_taken_in_and_again_unchanged() {
    const PAGES_OF_PORTS: &str =
        "select array_agg((ctid::text::point)[0]::bigint order by id) from ports where network_id = $1";
    const PAGES_OF_GLOBAL_PORTS: &str =
        "select array_agg((ctid::text::point)[0]::bigint order by id) from global_ports where id > $1";
    const HOSTS: u32 = 500;
    const PORTS: u16 = 100;
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network_of(&app, "n", worker.client.agent_id(), "10.99.0.0/16", "1-1000").await;
    let mut records = Vec::new();
    for host in 0..HOSTS {
        let address = format!("10.99.{}.{}", host / 250, host % 250 + 1);
        records.extend((1..=PORTS).map(|port| open(&app, &address, port)));
    }
    let mut pages = Vec::new();
    for round in ["new", "unchanged"] {
        let scan_id = plan(&app, &manual(network_id)).await;
        let job = worker.lease().await.expect("a job");
        let origin = Origin {
            scan_id,
            network_id,
            shard_index: Some(0),
            block: "10.99.0.0/16".parse().expect("a block"),
            started_at: app.now(),
            now: app.now(),
        };
        let begun = Instant::now();
        for batch in records.chunks(Limits::BATCH_RECORDS) {
            let sightings = Sightings::from_records(batch.to_vec(), &origin);
            let mut transaction = app.pool().begin().await.expect("a transaction");
            ingest::apply(&mut transaction, &origin, &sightings).await.expect("taken in");
            transaction.commit().await.expect("committed");
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{} {round} observations in {seconds:.2} s: {:.0}/s",
            records.len(),
            records.len() as f64 / seconds
        );
        let kept: i64 = value(&app, "select count(*) from scan_ports where scan_id = $1", scan_id).await;
        assert_eq!(kept, i64::from(HOSTS) * i64::from(PORTS));
        let begun = Instant::now();
        worker.finish(&job, 0, portreeve_model::protocol::JobOutcome::Completed).await.assert_status(204);
        println!("the scan's end, {round}: {:.2} s", begun.elapsed().as_secs_f64());
        pages.push((
            value::<Vec<i64>>(&app, PAGES_OF_PORTS, network_id).await,
            value::<Vec<i64>>(&app, PAGES_OF_GLOBAL_PORTS, 0).await,
        ));
    }
    // A row that stays in its page needs no new entry in any index.
    assert_eq!(pages[0].0.len(), pages[1].0.len());
    assert!(pages[0] == pages[1], "rows that only were seen again moved to other pages");
    let changes: i64 = value(
        &app,
        "select count(*) from changes where kind = 'port_opened' and network_id = $1",
        network_id,
    )
    .await;
    assert_eq!(changes, i64::from(HOSTS) * i64::from(PORTS));
    let alerts: i64 = value(&app, "select count(*) from alerts where network_id = $1", network_id).await;
    assert_eq!(alerts, 1, "a first scan is one alert");
}

#[tokio::test]
async fn two_networks_that_see_one_host_do_not_lock_each_other_out() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let agent_id = worker.client.agent_id();
    let records: Vec<Record> = (1..=200)
        .flat_map(|host| [22, 80, 443].map(|port| open(&app, &format!("10.99.0.{host}"), port)))
        .collect();
    let mut jobs = Vec::new();
    for name in ["one", "two", "three"] {
        let network_id = network_of(&app, name, agent_id, "10.99.0.0/24", "1-1000").await;
        plan(&app, &manual(network_id)).await;
        jobs.push(worker.lease().await.expect("a job"));
    }
    let mut backwards = records.clone();
    backwards.reverse();
    let puts = jobs.iter().flat_map(|job| [(job, 0, &records), (job, 1, &backwards)]);
    let puts = puts.map(|(job, number, records)| worker.put(job, number, records));
    for reply in futures_util::future::join_all(puts).await {
        reply.assert_status(200);
    }
    assert_eq!(value::<i64>(&app, "select count(*) from global_ports where id > $1", 0).await, 600);
    assert_eq!(
        value::<i64>(&app, "select count(*) from ports where id > $1 and closed_at is null", 0).await,
        1800
    );
}

#[tokio::test]
async fn what_is_deleted_takes_its_traces_along() {
    const TRACES: &str = "select 'ports ' || count(*) || ' hosts ' || count(host_id) from ports where id > $1
        union all select 'global ' || count(*) || ' hosts ' || count(host_id) from global_ports
        union all select 'run ' || count(*) from scan_ports
        union all select 'changes ' || count(*) || ' hosts ' || count(host_id) || ' scans ' || count(scan_id)
                         || ' ports ' || count(global_port_id) from changes";
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network_of(&app, "n", worker.client.agent_id(), "10.99.0.0/24", "1-1000").await;
    worker.scan(network_id, &[open(&app, "10.99.0.7", 22), open(&app, "10.99.0.8", 22)]).await;
    let traces = async || texts(&app, TRACES, 0).await;
    assert_eq!(
        traces().await,
        ["ports 2 hosts 2", "global 2 hosts 2", "run 2", "changes 4 hosts 4 scans 4 ports 2"]
    );
    let delete = async |sql: &'static str| sqlx::query(sql).execute(app.pool()).await.expect("deleted");
    delete("delete from hosts where address = '10.99.0.7'").await;
    assert_eq!(
        traces().await,
        ["ports 2 hosts 1", "global 2 hosts 1", "run 2", "changes 4 hosts 2 scans 4 ports 2"]
    );
    delete("delete from scans").await;
    assert_eq!(
        traces().await,
        ["ports 2 hosts 1", "global 2 hosts 1", "run 0", "changes 4 hosts 2 scans 0 ports 2"]
    );
    delete("delete from global_ports where address = '10.99.0.7'").await;
    assert_eq!(
        traces().await,
        ["ports 1 hosts 1", "global 1 hosts 1", "run 0", "changes 4 hosts 2 scans 0 ports 1"]
    );
    delete("delete from networks").await;
    assert_eq!(
        traces().await,
        ["ports 0 hosts 0", "global 1 hosts 1", "run 0", "changes 0 hosts 0 scans 0 ports 0"]
    );
}

#[tokio::test]
async fn what_is_seen_again_is_told_everywhere_at_the_scans_end() {
    const STORED: &str = "select extract(epoch from last_seen_at - timestamptz '2026-01-01')::bigint
        || ' ' || (host_id is not null) from global_ports where id > $1";
    let app = TestApp::new().await;
    let viewer = app.login(crate::auth::Role::Viewer).await;
    let shown = async || viewer.get("/api/global-ports").await.json()["ports"][0]["last_seen_at"].clone();
    let worker = Worker::new(&app, "a").await;
    let network_id = network_of(&app, "n", worker.client.agent_id(), "10.99.0.0/24", "1-1000").await;
    let scan = async || worker.scan(network_id, &[open(&app, "10.99.0.7", 22)]).await;
    scan().await;
    app.clock().advance(TimeDelta::minutes(30));
    scan().await;
    assert_eq!(texts(&app, STORED, 0).await, ["0 true"], "an hour is near enough to sort by");
    assert_eq!(shown().await, "2026-01-01T00:30:00Z", "what is shown is exact");
    app.clock().advance(TimeDelta::minutes(45));
    scan().await;
    assert_eq!(texts(&app, STORED, 0).await, ["4500 true"]);
    sqlx::query("delete from hosts").execute(app.pool()).await.expect("deleted");
    assert_eq!(texts(&app, STORED, 0).await, ["4500 false"]);
    scan().await;
    assert_eq!(texts(&app, STORED, 0).await, ["4500 true"], "the host is another row now");
}

#[tokio::test]
async fn a_network_that_is_deleted_meanwhile_leaves_nothing() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network_of(&app, "n", worker.client.agent_id(), "10.99.0.0/24", "1-1000").await;
    let scan_id = plan(&app, &manual(network_id)).await;
    let origin = Origin {
        scan_id,
        network_id,
        shard_index: Some(0),
        block: "10.99.0.0/24".parse().expect("a block"),
        started_at: app.now(),
        now: app.now(),
    };
    let sightings = Sightings::from_records(vec![open(&app, "10.99.0.7", 22)], &origin);
    let mut transaction = app.pool().begin().await.expect("a transaction");
    ingest::apply(&mut transaction, &origin, &sightings).await.expect("taken in");
    let pool = app.pool().clone();
    let deleting = tokio::spawn(async move { sqlx::query("delete from networks").execute(&pool).await });
    while value::<i64>(&app, "select count(*) from pg_locks where not granted and pid <> $1", 0).await == 0 {
        tokio::task::yield_now().await;
    }
    transaction.commit().await.expect("committed");
    deleting.await.expect("no panic").expect("deleted");
    assert_eq!(value::<i64>(&app, "select count(*) from ports where id > $1", 0).await, 0);
    let mut late = app.pool().begin().await.expect("a transaction");
    assert!(
        ingest::apply(&mut late, &origin, &sightings).await.is_err(),
        "there is no such network any more"
    );
}

#[tokio::test]
async fn a_run_counts_each_port_once_however_often_it_comes() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network_of(&app, "n", worker.client.agent_id(), "10.99.0.0/24", "1-1000").await;
    worker.scan(network_id, &[open(&app, "10.99.0.7", 22), open(&app, "10.99.0.7", 23)]).await;
    let scan_id = plan(&app, &manual(network_id)).await;
    let job = worker.lease().await.expect("a job");
    let ports: Vec<_> = [22, 80, 443].map(|port| open(&app, "10.99.0.7", port)).into();
    for (number, batch) in (0u32..).zip([&ports[..2], &ports[1..], &ports[..]]) {
        worker.put(&job, number, batch).await.assert_status(200);
    }
    assert_eq!(value::<i32>(&app, "select open_ports from scans where id = $1", scan_id).await, 3);
    assert_eq!(
        texts(&app, "select kind || ' ' || port from changes where scan_id = $1 order by port", scan_id)
            .await,
        ["port_opened 80", "port_opened 443"]
    );
    assert_eq!(
        value::<i64>(&app, "select count(*) from ports where last_scan_id = $1", scan_id).await,
        3,
        "seen again and new alike"
    );
}
