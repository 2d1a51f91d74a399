//! Findings that last from scan to scan: certificates that run out, weak TLS, weak SSH.
//!
//! They follow from what the network's open ports show *now*, not from one scan: [`settle`] compares them with those that
//! were told already. What is new raises an alert, what is gone resolves its own; what an alert stands for is not raised
//! again, acknowledged or not, unless it gets worse: a weak algorithm that joins others is a finding of its own. A
//! certificate is one finding wherever it is shown. Many new findings of one kind at once, as in a network's first scan,
//! make one alert.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use chrono::{DateTime, TimeDelta, Utc};
use portreeve_model::{SshAudit, TlsCertificate, TlsInfo, Transport};
use sqlx::PgConnection;

use super::{
    AlertKind,
    config::AlertConfig,
    group::{self, APART, Place, named},
    ssh::{SshFacts, SshFault},
};
use crate::{
    live::{AlertEvent, Event},
    policy::{
        severity::severity,
        weakness::{self, Weakness, WeaknessKind},
    },
    state::AppState,
    store::{
        alert_evaluation::{self as alerts, AlertRow},
        settings, standing as store,
    },
};

/// Characters of a finding's text, and of what it consists of: names in them are the host's.
const MAX_TEXT: usize = 400;
const MAX_PART: usize = 80;

/// What an open port shows of TLS and SSH.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The host.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Its transport.
    pub transport: Transport,
    /// TLS, its first certificate alone.
    pub tls: Option<TlsInfo>,
    /// SSH.
    pub ssh: Option<SshAudit>,
}

/// Something that is the case, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    kind: AlertKind,
    /// For people, without the place.
    text: String,
    /// In the order of addresses, each once.
    places: BTreeSet<Place>,
    /// What it consists of, where that can become more.
    parts: BTreeSet<String>,
}

/// Findings by what they are about.
type Findings = BTreeMap<String, Finding>;

impl Finding {
    /// What makes it the same as one that was told: its subject, or each part of it.
    fn keys(&self, subject: &str) -> Vec<String> {
        if self.parts.is_empty() {
            return vec![subject.to_owned()];
        }
        self.parts.iter().map(|part| format!("{subject}/{part}")).collect()
    }
}

/// Compares what a network shows with what was told, raises what is new and resolves what is over.
pub async fn settle(
    db: &mut PgConnection,
    network_id: i64,
    scan_id: Option<i64>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<AlertEvent>> {
    let Some(alert_config) = store::lock_network(&mut *db, network_id).await? else { return Ok(Vec::new()) };
    let defaults = settings::alert_defaults(&mut *db).await?;
    let config = AlertConfig::resolve(Some(&alert_config), &defaults);
    let mut findings = Findings::new();
    store::each_shown(&mut *db, network_id, |shown| judge(&shown, &config, now, &mut findings)).await?;
    let told = store::standing(&mut *db, network_id).await?;
    let keys: Vec<_> = findings.iter().flat_map(|(subject, finding)| finding.keys(subject)).collect();
    store::end_others(&mut *db, network_id, &keys, now).await?;
    let untold = |(subject, finding): (&String, &Finding)| {
        finding.keys(subject).into_iter().filter(|key| !told.contains(key)).collect::<Vec<_>>()
    };
    findings.retain(|subject, finding| !untold((subject, finding)).is_empty());
    let drafts = drafts(findings, &untold, network_id, scan_id, now);
    let rows: Vec<_> = drafts.iter().map(|draft| draft.row.clone()).collect();
    let raised = alerts::raise(&mut *db, &rows, now).await?;
    let members = drafts.iter().flat_map(|draft| {
        draft.findings.iter().map(|finding| (finding.as_str(), draft.row.dedup_key.as_str()))
    });
    store::note(&mut *db, network_id, &members.collect::<Vec<_>>()).await?;
    Ok(raised)
}

/// Certificates run out between scans, too.
pub async fn round(app: AppState) -> sqlx::Result<()> {
    let now = app.clock.now();
    for network_id in store::networks_with_ending_certificates(&app.pool, now + longest()).await? {
        let mut transaction = app.pool.begin().await?;
        let raised = settle(&mut transaction, network_id, None, now).await?;
        transaction.commit().await?;
        for alert in raised {
            app.live.publish(Event::Alert(alert));
        }
    }
    Ok(())
}

/// The earliest that anyone can want to know of a certificate's end.
fn longest() -> TimeDelta {
    TimeDelta::days(i64::from(super::config::MAX_EXPIRING_DAYS))
}

fn judge(shown: &Shown, config: &AlertConfig, now: DateTime<Utc>, findings: &mut Findings) {
    let mut add = |kind: AlertKind, what: String, text: String, parts: Vec<String>| {
        if config.wants(kind) {
            let finding = findings.entry(format!("{kind}/{what}")).or_insert_with(|| Finding {
                kind,
                text: text.chars().take(MAX_TEXT).collect(),
                places: BTreeSet::new(),
                parts: BTreeSet::new(),
            });
            finding.places.insert((shown.address, shown.port, shown.transport));
            finding.parts.extend(parts.iter().map(|part| part.chars().take(MAX_PART).collect::<String>()));
        }
    };
    let here = || format!("{}/{}/{}", shown.address, shown.port, shown.transport);
    let leaf = shown.tls.as_ref().and_then(|tls| tls.certificates.first());
    // An agent may say anything: what is no digest cannot stand for a certificate.
    let digest = |leaf: &TlsCertificate| {
        let is_digest = leaf.sha256.len() == 64 && leaf.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_digest { leaf.sha256.to_ascii_lowercase() } else { here() }
    };
    for Weakness { kind, text, names, .. } in weakness::of_parts(shown.tls.as_ref(), shown.ssh.as_ref(), now)
    {
        match (kind, leaf) {
            (WeaknessKind::TlsExpired, Some(leaf)) => {
                add(AlertKind::TlsExpired, digest(leaf), format!("{text} ({})", leaf.subject), names);
            }
            (WeaknessKind::TlsWeakCertificate, Some(leaf)) => {
                add(AlertKind::TlsWeak, digest(leaf), format!("{text} ({})", leaf.subject), names);
            }
            (WeaknessKind::TlsOldVersion, _) => add(AlertKind::TlsWeak, here(), text, names),
            (WeaknessKind::SshWeakMac, _) => add(AlertKind::SshWeakMac, here(), text, names),
            (WeaknessKind::SshWeakHostKey, _) => add(AlertKind::SshWeakHostKey, here(), text, names),
            // What else is wrong with SSH has words of its own below; the rest raises no alert.
            _ => {}
        }
    }
    let faults = shown.ssh.iter().flat_map(|ssh| SshFacts::from(ssh).faults(config.ssh_version_threshold));
    for SshFault { kind, text, names } in faults {
        add(kind, here(), text, names);
    }
    if let Some(leaf) = leaf
        && let Some(days) = config.expiring_within(leaf.not_after_ms.0, now)
    {
        let end = weakness::day(leaf.not_after_ms.0);
        let text = format!("The certificate runs out on {end}, in less than {days} days ({})", leaf.subject);
        add(AlertKind::TlsExpiring, format!("{}/{days}", digest(leaf)), text, Vec::new());
    }
}

/// An alert to raise, and the findings it tells of.
struct Draft {
    row: AlertRow,
    findings: Vec<String>,
}

/// An alert for each finding, or one for all of a kind where there are many. `keys` are those that an alert is to stand for.
fn drafts(
    findings: Findings,
    keys: &impl Fn((&String, &Finding)) -> Vec<String>,
    network_id: i64,
    scan_id: Option<i64>,
    now: DateTime<Utc>,
) -> Vec<Draft> {
    let mut kinds: BTreeMap<AlertKind, Findings> = BTreeMap::new();
    for (key, finding) in findings {
        kinds.entry(finding.kind).or_default().insert(key, finding);
    }
    let mut drafts = Vec::new();
    for (kind, findings) in kinds {
        let row = |message, dedup_key, places: &BTreeSet<_>, only| AlertRow {
            kind,
            severity: severity(kind, false, false),
            network_id: Some(network_id),
            scan_id,
            agent_id: None,
            host: None,
            place: only,
            global_port_id: None,
            message,
            detail: group::listed(places.iter().map(group::shown)),
            dedup_key,
        };
        if findings.len() <= APART {
            for (subject, finding) in &findings {
                let Finding { text, places, .. } = finding;
                let message = format!("{text} on {}", named(places));
                let dedup_key = format!("network-{network_id}/{subject}");
                let row = row(message, dedup_key, places, places.first().copied());
                drafts.push(Draft { row, findings: keys((subject, finding)) });
            }
        } else {
            let places = findings.values().flat_map(|finding| finding.places.iter().copied()).collect();
            let message = format!("{} on {}", many(kind, findings.len()), named(&places));
            let dedup_key = format!("network-{network_id}/{kind}/at-{}", now.timestamp_millis());
            let row = row(message, dedup_key, &places, None);
            drafts.push(Draft { row, findings: findings.iter().flat_map(keys).collect() });
        }
    }
    drafts
}

/// What many findings of a kind have in common.
fn many(kind: AlertKind, count: usize) -> String {
    let what = match kind {
        AlertKind::TlsExpired => "certificates have run out",
        AlertKind::TlsExpiring => "certificates run out soon",
        AlertKind::TlsWeak => "TLS servers or certificates are weak",
        AlertKind::SshInsecureAuth => "SSH servers allow insecure authentication methods",
        AlertKind::SshOutdatedVersion => "SSH servers run outdated versions",
        AlertKind::SshWeakCipher => "SSH servers support weak ciphers",
        AlertKind::SshWeakHostKey => "SSH servers have weak host keys",
        AlertKind::SshWeakKex => "SSH servers support weak key exchange algorithms",
        AlertKind::SshWeakMac => "SSH servers offer weak message authentication",
        _ => "findings",
    };
    format!("{count} {what},")
}

#[cfg(test)]
mod tests {
    use portreeve_model::{
        PortState, Reason, Service, SshAlgorithm, SshHostKey, Timestamp, protocol::Record,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::test_support::{
        TestApp,
        scans::{Worker, network, open, seen, service, texts, value},
    };

    const ALERTS: &str = "select kind || ' ' || resolution_status || ': ' || message from alerts
        where network_id = $1 and kind not in ('new_port') order by id";

    /// One network that an agent scans again and again.
    struct Watched<'a> {
        worker: Worker<'a>,
        network_id: i64,
    }

    impl<'a> Watched<'a> {
        async fn new(app: &'a TestApp) -> Self {
            let worker = Worker::new(app, "a").await;
            let network_id = network(app, "n", worker.client.agent_id()).await;
            Self { worker, network_id }
        }

        async fn scan(&self, services: &[Service]) {
            let app = self.worker.app;
            app.clock().advance(TimeDelta::minutes(1));
            let mut records = Vec::new();
            for service in services {
                records.push(open(app, &service.endpoint.address.to_string(), service.endpoint.port));
                records.push(Record::Service(Box::new(service.clone())));
            }
            self.worker.scan(self.network_id, &records).await;
        }

        async fn alerts(&self) -> Vec<String> {
            texts(self.worker.app, ALERTS, self.network_id).await
        }

        async fn configure(&self, config: Value) {
            sqlx::query("update networks set alert_config = $2 where id = $1")
                .bind(self.network_id)
                .bind(config)
                .execute(self.worker.app.pool())
                .await
                .expect("configured");
        }
    }

    /// A TLS server whose certificate, told by one digit, ends so many days from now.
    fn secure(app: &TestApp, address: &str, digit: &str, days: i64) -> Service {
        let mut service = service(app, address, 443, "http", "nginx", "1.24.0");
        let leaf = TlsCertificate {
            subject: format!("CN={digit}.example").into(),
            sha256: digit.repeat(64),
            key: "RSA 2048".into(),
            signature: "sha256WithRSAEncryption".into(),
            not_after_ms: Timestamp((app.now() + TimeDelta::days(days)).timestamp_millis()),
            ..TlsCertificate::default()
        };
        service.tls =
            Some(TlsInfo { version: "TLSv1.3".into(), certificates: vec![leaf], ..TlsInfo::default() });
        service
    }

    fn takes(mut service: Service, version: &str) -> Service {
        if let Some(tls) = &mut service.tls {
            tls.versions = vec![version.into(), "TLSv1.3".into()];
        }
        service
    }

    #[tokio::test]
    async fn a_certificate_is_told_once_wherever_it_is_and_resolved_when_replaced() {
        let app = TestApp::new().await;
        let watched = Watched::new(&app).await;
        let shown = [secure(&app, "10.99.0.7", "a", -30), secure(&app, "10.99.0.8", "a", -30)];
        watched.scan(&shown).await;
        let told = "The certificate ran out on 2025-12-02 (CN=a.example) on 10.99.0.7:443, 10.99.0.8:443";
        assert_eq!(watched.alerts().await, [format!("tls_expired open: {told}")]);
        let detail = texts(
            &app,
            "select detail->>'places' from alerts where network_id = $1 and kind = 'tls_expired'",
            watched.network_id,
        )
        .await;
        assert_eq!(detail, [r#"["10.99.0.7:443", "10.99.0.8:443"]"#]);

        sqlx::query("update alerts set acknowledged = true").execute(app.pool()).await.expect("acknowledged");
        watched.scan(&shown).await;
        assert_eq!(watched.alerts().await.len(), 1, "what somebody has seen to is not told again");

        watched.scan(&[secure(&app, "10.99.0.7", "b", 300), secure(&app, "10.99.0.8", "a", -30)]).await;
        assert_eq!(watched.alerts().await, [format!("tls_expired open: {told}")]);
        watched.scan(&["10.99.0.7", "10.99.0.8"].map(|address| secure(&app, address, "b", 300))).await;
        assert_eq!(watched.alerts().await, [format!("tls_expired resolved: {told}")]);

        watched.scan(&[secure(&app, "10.99.0.7", "a", -30)]).await;
        assert_eq!(watched.alerts().await.len(), 2, "it came back");
    }

    #[tokio::test]
    async fn a_certificates_end_comes_nearer_between_scans() {
        let app = TestApp::new().await;
        let watched = Watched::new(&app).await;
        watched.scan(&[secure(&app, "10.99.0.7", "a", 40)]).await;
        assert!(watched.alerts().await.is_empty());
        let mut seen: Vec<Vec<String>> = Vec::new();
        for days in [5, 5, 25, 6] {
            app.clock().advance(TimeDelta::days(days));
            for _ in 0..2 {
                round(app.state().clone()).await.expect("a round");
            }
            let alerts = watched.alerts().await;
            seen.push(
                alerts.iter().map(|alert| alert.replace(" (CN=a.example) on 10.99.0.7:443", "")).collect(),
            );
        }
        let within = |state, days| {
            format!("tls_expiring {state}: The certificate runs out on 2026-02-10, in less than {days} days")
        };
        let expected: [Vec<String>; 4] = [
            vec![],
            vec![within("open", 30)],
            vec![within("resolved", 30), within("open", 7)],
            vec![
                within("resolved", 30),
                within("resolved", 7),
                "tls_expired open: The certificate ran out on 2026-02-10".to_owned(),
            ],
        ];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn many_findings_at_once_are_one_alert_and_a_later_one_its_own() {
        let app = TestApp::new().await;
        let watched = Watched::new(&app).await;
        let old = |last: u8| takes(secure(&app, &format!("10.99.0.{last}"), "a", 300), "TLSv1.0");
        let mut servers: Vec<_> = (1..=30).map(old).collect();
        watched.scan(&servers).await;
        let group = "30 TLS servers or certificates are weak, on 10.99.0.1:443, 10.99.0.2:443, 10.99.0.3:443 and 27 more";
        assert_eq!(watched.alerts().await, [format!("tls_weak open: {group}")]);
        servers.push(old(31));
        watched.scan(&servers).await;
        let own = "Agrees to forbidden versions: TLSv1.0 on 10.99.0.31:443";
        assert_eq!(
            watched.alerts().await,
            [format!("tls_weak open: {group}"), format!("tls_weak open: {own}")]
        );
        let sound: Vec<_> = (1..=31).map(|last| secure(&app, &format!("10.99.0.{last}"), "a", 300)).collect();
        watched.scan(&[&servers[..1], &sound[1..]].concat()).await;
        assert_eq!(
            watched.alerts().await,
            [format!("tls_weak open: {group}"), format!("tls_weak resolved: {own}")]
        );
        watched.scan(&sound).await;
        assert!(watched.alerts().await.iter().all(|alert| alert.starts_with("tls_weak resolved")));
        let left: i64 =
            value(&app, "select count(*) from alert_findings where network_id = $1", watched.network_id)
                .await;
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn a_finding_ends_with_its_port_or_when_nobody_wants_it_and_not_by_a_word() {
        let app = TestApp::new().await;
        let watched = Watched::new(&app).await;
        let weak = takes(secure(&app, "10.99.0.7", "a", 300), "SSLv3");
        watched.scan(std::slice::from_ref(&weak)).await;
        let own = "Agrees to forbidden versions: SSLv3 on 10.99.0.7:443";
        assert_eq!(watched.alerts().await, [format!("tls_weak open: {own}")]);

        sqlx::query("update alerts set resolution_status = 'resolved'")
            .execute(app.pool())
            .await
            .expect("a user's word");
        watched.scan(std::slice::from_ref(&weak)).await;
        assert_eq!(watched.alerts().await.len(), 2, "it is still there");

        watched.configure(json!({"tls_expired": true})).await;
        watched.scan(std::slice::from_ref(&weak)).await;
        assert!(watched.alerts().await[1].starts_with("tls_weak resolved"));
        watched.configure(json!({"tls_weak": true})).await;
        watched.scan(std::slice::from_ref(&weak)).await;
        assert!(watched.alerts().await[2].starts_with("tls_weak open"));

        app.clock().advance(TimeDelta::minutes(1));
        let closed = seen(&app, "10.99.0.7", 443, PortState::Closed, Reason::Reset);
        watched.worker.scan(watched.network_id, &[closed]).await;
        assert!(watched.alerts().await[2].starts_with("tls_weak resolved"));
    }

    #[tokio::test]
    async fn weak_ssh_is_told_where_it_is_wanted() {
        let app = TestApp::new().await;
        let watched = Watched::new(&app).await;
        let mut server = service(&app, "10.99.0.7", 22, "ssh", "OpenSSH", "9.6");
        let key = SshHostKey {
            kind: "ssh-rsa".into(),
            bits: Some(1024),
            is_weak: true,
            fingerprint: "SHA256:abc".into(),
            ..SshHostKey::default()
        };
        server.ssh = Some(SshAudit {
            mac_algorithms: vec![weak("hmac-md5")],
            keys: vec![key],
            hassh: Some("ab".repeat(16)),
            ..SshAudit::default()
        });
        watched.scan(std::slice::from_ref(&server)).await;
        assert!(watched.alerts().await.is_empty(), "off unless wanted, as the other SSH algorithms");
        watched.configure(json!({"ssh_weak_mac": true, "ssh_weak_host_key": true})).await;
        watched.scan(std::slice::from_ref(&server)).await;
        assert_eq!(
            watched.alerts().await,
            [
                "ssh_weak_host_key open: Has a weak host key: ssh-rsa with 1024 bits on 10.99.0.7:22",
                "ssh_weak_mac open: Offers weak message authentication: hmac-md5 on 10.99.0.7:22",
            ]
        );
    }

    fn weak(name: &str) -> SshAlgorithm {
        SshAlgorithm { name: name.into(), keysize: None, is_weak: true, notes: Vec::new() }
    }

    /// An SSH server that takes passwords, of which nothing but its offer is known, as agents of others tell it.
    fn shell(app: &TestApp, address: &str, version: &str, ciphers: &[&str]) -> Service {
        let mut server = service(app, address, 22, "ssh", "OpenSSH", "7.4");
        server.ssh = Some(SshAudit {
            ssh_version: version.into(),
            ciphers: ciphers.iter().map(|name| weak(name)).collect(),
            auth_methods: Some(vec!["password".into(), "publickey".into()]),
            ..SshAudit::default()
        });
        server
    }

    #[tokio::test]
    async fn what_is_acknowledged_of_ssh_stays_so_until_it_is_over_or_worse() {
        let app = TestApp::new().await;
        let watched = Watched::new(&app).await;
        watched
            .configure(
                json!({"ssh_insecure_auth": true, "ssh_weak_cipher": true, "ssh_outdated_version": true}),
            )
            .await;
        let scan = async |version, ciphers: &[&str]| {
            watched.scan(&[shell(&app, "10.99.0.7", version, ciphers)]).await;
            watched.alerts().await
        };
        let acknowledge = async || {
            sqlx::query("update alerts set acknowledged = true").execute(app.pool()).await.expect("seen to")
        };
        let auth =
            "SSH server allows insecure authentication methods: password (SSH OpenSSH_7.4) on 10.99.0.7:22";
        let old =
            "SSH server running outdated version: OpenSSH_7.4 (recommended minimum: 8.0.0) on 10.99.0.7:22";
        let offers = |names: &str| {
            format!("SSH server supports weak ciphers: {names} (SSH OpenSSH_7.4) on 10.99.0.7:22")
        };
        let mut told = vec![
            format!("ssh_insecure_auth open: {auth}"),
            format!("ssh_outdated_version open: {old}"),
            format!("ssh_weak_cipher open: {}", offers("3des-cbc")),
        ];
        assert_eq!(scan("OpenSSH_7.4", &["3des-cbc"]).await, told);
        assert_eq!(scan("OpenSSH_7.4", &["3des-cbc"]).await, told, "told once");
        told[2] = format!("ssh_weak_cipher open: {}", offers("3des-cbc, arcfour"));
        assert_eq!(
            scan("OpenSSH_7.4", &["3des-cbc", "arcfour"]).await,
            told,
            "nobody has seen to it: it says so"
        );

        acknowledge().await;
        for ciphers in [&["3des-cbc", "arcfour"][..], &["arcfour"]] {
            assert_eq!(scan("OpenSSH_7.4", ciphers).await, told, "not again, and not for getting better");
        }
        told.push(format!("ssh_weak_cipher open: {}", offers("arcfour, blowfish-cbc")));
        assert_eq!(scan("OpenSSH_7.4", &["arcfour", "blowfish-cbc"]).await, told, "worse");

        acknowledge().await;
        let over = |text: &String| text.replace(" open: ", " resolved: ");
        let sound = scan("OpenSSH_9.6", &[]).await;
        assert_eq!(sound[..1], told[..1], "passwords are taken still");
        assert_eq!(sound[1..], told[1..].iter().map(over).collect::<Vec<_>>());
        let back = scan("OpenSSH_9.6", &["3des-cbc"]).await;
        assert_eq!(back.len(), 5);
        assert!(back[4].starts_with("ssh_weak_cipher open"), "it came back");
    }

    #[tokio::test]
    async fn what_a_hostile_agent_says_is_bounded() {
        let app = TestApp::new().await;
        let watched = Watched::new(&app).await;
        let mut server = secure(&app, "10.99.0.7", "a", -1);
        if let Some(leaf) = server.tls.as_mut().and_then(|tls| tls.certificates.first_mut()) {
            leaf.sha256 = "../'; drop table alerts; --\0".repeat(900);
            leaf.subject = "x".repeat(10_000).into();
            (leaf.not_before_ms, leaf.not_after_ms) = (Timestamp(i64::MAX), Timestamp(i64::MIN));
        }
        let mut other = secure(&app, "10.99.0.8", "a", -1);
        other.ssh = Some(SshAudit { hassh: Some("c".repeat(32)), ..SshAudit::default() });
        if let Some(leaf) = other.tls.as_mut().and_then(|tls| tls.certificates.first_mut()) {
            leaf.sha256 = "A".repeat(64);
        }
        watched.scan(&[server, other]).await;
        let alerts = watched.alerts().await;
        assert!(
            alerts.iter().all(|alert| alert.starts_with("tls_expired open") && alert.len() < 600),
            "{alerts:?}"
        );
        let findings = texts(
            &app,
            "select finding from alert_findings where network_id = $1 order by finding",
            watched.network_id,
        )
        .await;
        assert_eq!(findings.last(), Some(&format!("tls_expired/{}", "a".repeat(64))));
    }
}
