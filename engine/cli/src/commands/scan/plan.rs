//! What a scan is to do, from the command line, the configuration file, and what an earlier scan left.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use portreeve_agent::TunedRates;
use portreeve_scan::{PacketsPerSecond, PortSet, ScanConfig, TargetSet, VlanId};

use super::super::tune;
use crate::{
    args::{Backend, Part, ScanArgs, SendArgs, parse_duration},
    checkpoint::Unfinished,
    exit::Failure,
    journal::{Folder, Resumed},
    settings::ScanSettings,
    targets::target_set,
    top_ports,
};

/// Everything that is decided before a socket is opened.
pub(super) struct Plan {
    pub(super) config: ScanConfig,
    pub(super) shard: Part,
    /// The folder of the scan that is gone on with, and what it left.
    pub(super) resumed: Option<(PathBuf, Resumed)>,
}

/// A checkpoint is made this often: little is repeated after a kill, and little is written.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);

impl Plan {
    pub(super) fn of_scan(arguments: &ScanArgs, settings: &ScanSettings) -> Result<Self, Failure> {
        let mut plan = match &arguments.resume {
            Some(path) => Self::resumed(path.clone(), &arguments.send, settings)?,
            None => {
                let targets = target_set(&arguments.targets, &settings.exclude)?;
                let ports = ports(arguments, settings)?;
                let mut plan = Self::new(targets, ports, &arguments.send, settings)?;
                plan.config.ping = arguments.ping.is_some();
                plan.config.host_probes = arguments.ping.clone().unwrap_or_default();
                plan
            }
        };
        plan.config.report_closed = arguments.all;
        plan.config.report_filtered = arguments.all;
        Ok(plan)
    }

    pub(super) fn new(
        targets: TargetSet,
        ports: PortSet,
        send: &SendArgs,
        settings: &ScanSettings,
    ) -> Result<Self, Failure> {
        let mut config = ScanConfig::new(targets, ports);
        if let Some(rate) =
            send.rate.or(settings.rate).map(PacketsPerSecond).or_else(|| tuned_rate(&config.targets))
        {
            config.rate = rate;
        }
        config.rate_per_host = send.rate_per_host.or(settings.rate_per_host).map(PacketsPerSecond);
        config.rate_per_network = send.rate_per_network.or(settings.rate_per_network).map(PacketsPerSecond);
        config.network_prefix_v4 = send.network_prefix.unwrap_or(config.network_prefix_v4);
        config.network_prefix_v6 = send.network_prefix_v6.unwrap_or(config.network_prefix_v6);
        config.retries = send.retries.or(settings.retries).unwrap_or(config.retries);
        config.wait = wait(send, settings)?.unwrap_or(config.wait);
        config.seed = send.seed.unwrap_or_else(rand::random);
        config.interface = send.interface.clone().or_else(|| settings.interface.clone());
        config.vlan = send.vlan.map(Ok).or_else(|| vlan(settings)).transpose()?;
        config.source_port = send.source_port.or(settings.source_port);
        config.backend = send.backend.or(settings.backend).unwrap_or(Backend::Auto).into();
        let shard = send.shard.unwrap_or(Part::WHOLE);
        config.shard = shard.shard().unwrap_or_default();
        Ok(Self { config, shard, resumed: None })
    }

    fn resumed(folder: PathBuf, send: &SendArgs, settings: &ScanSettings) -> Result<Self, Failure> {
        let resumed = Resumed::read(&folder)?;
        let scan = &resumed.scan;
        let mut plan = Self::new(scan.targets()?, scan.ports()?, send, settings)?;
        plan.shard = scan.shard;
        plan.config.shard = scan
            .shard
            .shard()
            .ok_or_else(|| Failure::usage("the checkpoint names a part that does not exist"))?;
        plan.config.seed = scan.seed;
        plan.config.ping = scan.ping;
        plan.config.host_probes = scan.host_probes()?;
        plan.config.resume = Some(resumed.checkpoint.clone());
        plan.resumed = Some((folder, resumed));
        Ok(plan)
    }

    /// Where the scan keeps how far it is; looking for hosts is not worth it.
    pub(super) fn folder(&mut self) -> Result<Option<Folder>, Failure> {
        if self.config.ports.is_empty() {
            return Ok(None);
        }
        self.config.checkpoint_every = Some(CHECKPOINT_EVERY);
        let folder = match &self.resumed {
            Some((path, resumed)) => Folder::of_resumed(path, resumed)?,
            // With no name of its own the current folder gives the shortest ones.
            None => Folder::of_new(Unfinished::new(&self.config, self.shard), Path::new("")),
        };
        Ok(Some(folder))
    }

    /// Whether datagrams are sent, whose contents the probe database has. Without them, and without identification,
    /// nobody waits for it to be read.
    pub(super) fn has_datagrams(&self) -> bool {
        self.config.ports.udp().len() > 0 || self.config.host_probes.has_udp()
    }
}

/// What `portreeve tune` found for these targets.
fn tuned_rate(targets: &TargetSet) -> Option<PacketsPerSecond> {
    let path = tune::rates_path()?;
    match TunedRates::read(&path) {
        Ok(rates) => rates.rate_for(targets),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the rates found by `portreeve tune`");
            None
        }
    }
}

fn ports(arguments: &ScanArgs, settings: &ScanSettings) -> Result<PortSet, Failure> {
    let known = top_ports::RANKED.len();
    let text = match (&arguments.ports, arguments.top_ports) {
        (Some(ports), _) => ports.clone(),
        (None, Some(count)) if (1..=known).contains(&count) => top_ports::list(count),
        (None, Some(count)) => {
            return Err(Failure::usage(format!(
                "--top-ports {count}: the ranking has {known} ports; use 1 to {known}"
            )));
        }
        (None, None) => settings.ports.clone().unwrap_or_else(|| top_ports::list(top_ports::DEFAULT)),
    };
    let ports: PortSet = text.parse()?;
    if ports.is_empty() {
        return Err(Failure::usage(format!(
            "the port list {text:?} holds no port; `portreeve discover` looks for hosts only"
        )));
    }
    Ok(ports)
}

fn wait(send: &SendArgs, settings: &ScanSettings) -> Result<Option<Duration>, Failure> {
    let from_file = || {
        let text = settings.wait.as_deref()?;
        Some(
            parse_duration(text)
                .map_err(|error| Failure::usage(format!("wait = {text:?} in the configuration: {error}"))),
        )
    };
    send.wait.map(Ok).or_else(from_file).transpose()
}

fn vlan(settings: &ScanSettings) -> Option<Result<VlanId, Failure>> {
    let number = settings.vlan?;
    let refused =
        || Failure::usage(format!("vlan = {number} in the configuration: it must be from 1 to 4094"));
    Some(VlanId::new(number).filter(|_| number > 0).ok_or_else(refused))
}
