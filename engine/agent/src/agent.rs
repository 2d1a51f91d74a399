//! The loop: hello, lease when a slot is free, do, hand in.

use std::{path::PathBuf, sync::Arc, time::Duration};

use portreeve_model::{
    SafeText,
    protocol::{EnrollRequest, FinishRequest, JobOutcome, JobSummary, LeasedJob, Limits},
};
use portreeve_probes::{
    Database,
    archive::{Archive, ArchiveConfig, ArchiveError, ReplySink},
};
use portreeve_scan::{BackendChoice, Clock, TargetError};
use reqwest::Client;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    apart::{Worker, WorkerCommand},
    backoff::Backoff,
    client::{ClientError, ServerUrl, http_client},
    courier::{Delivery, deliver},
    host,
    job::{Workshop, carry_out},
    limits::HostLimits,
    spool::{JobSpool, Spool, SpoolError},
    state::{Identity, State, StateError},
    uplink::{Uplink, UplinkError},
};

/// How long an agent that is told to stop tries to hand in what it has.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Hello is said at least, and at most, so often, whatever the server wants.
const HELLO_SECONDS: std::ops::RangeInclusive<u32> = 5..=3_600;

/// What an agent is told by its operator.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Whom to work for.
    pub server: ServerUrl,
    /// PEM file with an authority to trust beside the system's.
    pub authority: Option<PathBuf>,
    /// The agent's own folder.
    pub state: PathBuf,
    /// Name to be shown.
    pub name: String,
    /// One-time token; needed until the agent is enrolled.
    pub token: Option<String>,
    /// Jobs at the same time.
    pub slots: u32,
    /// What this host allows.
    pub limits: HostLimits,
    /// Bytes of results kept on disk for a server that is away.
    pub spool_bytes: u64,
    /// Bytes of replies kept for `portreeve db retro`; 0 keeps none.
    pub archive_bytes: u64,
    /// Which way probes leave.
    pub backend: BackendChoice,
    /// Carries each job out in a process of its own, away from the agent's credential, files and rights; without, the
    /// agent does it itself.
    pub worker: Option<WorkerCommand>,
}

/// Why an agent ends other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server does not take the token.
    #[error(
        "the server {server} does not accept the enrolment token ({why}); start the agent with --enroll and a new \
         token"
    )]
    Enrolment {
        /// The server.
        server: ServerUrl,
        /// What it said.
        why: String,
    },
    /// The host's own exclusions or scope cannot be read.
    #[error("the agent's own exclusions and scope: {0}")]
    Exclusions(#[from] TargetError),
    /// Not enrolled, and no token to become so.
    #[error(
        "this agent is not enrolled at {server}; make a token there and start the agent with --enroll TOKEN"
    )]
    NotEnrolled {
        /// The server.
        server: ServerUrl,
    },
    /// The reply archive cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The credential is refused.
    #[error(
        "the server {server} no longer accepts this agent's credential ({why}): it was removed there; make a new \
         token and start the agent with --enroll TOKEN"
    )]
    Unauthorized {
        /// The server.
        server: ServerUrl,
        /// What it said.
        why: String,
    },
}

/// Works until `stop` is cancelled or the server wants nothing to do with this agent any more.
///
/// On `stop` running jobs are cancelled and handed in; what cannot be handed in within ten seconds stays in
/// the spool for the next start. Every job is identified with the newest of `databases`.
pub async fn run_agent(
    config: AgentConfig,
    databases: watch::Receiver<Arc<Database>>,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    config.limits.check()?;
    let client = http_client(&config.server, config.authority.as_deref())?;
    let state = State::open(&config.state)?;
    let spool = state.spool(config.spool_bytes)?;
    let Some(Introduced { uplink, hello_seconds }) =
        unless_stopped(&stop, introduce(&config, &client, &state)).await.transpose()?
    else {
        return Ok(());
    };
    // Opened in any case, so that it is told now if it cannot be.
    let archive = archive(&config)?;
    let worker = config.worker.clone().map(|command| Worker { command, archive: config.archive() });
    let workshop = Workshop {
        archive: archive.filter(|_| worker.is_none()),
        worker,
        uplink,
        clock,
        databases,
        limits: config.limits.shared_by(config.slots),
        backend: config.backend,
        memory: Arc::default(),
    };
    let mut agent = Agent {
        config,
        spool,
        workshop,
        jobs: JoinSet::new(),
        leftovers: JoinSet::new(),
        stop,
        hello_seconds,
    };
    agent.hand_leftovers_in()?;
    let ended = agent.work().await;
    agent.wind_up().await;
    ended
}

impl AgentConfig {
    /// Where replies are kept, and how many bytes of them.
    fn archive(&self) -> Option<(PathBuf, u64)> {
        (self.archive_bytes > 0).then(|| (self.state.join("replies"), self.archive_bytes))
    }
}

/// The archive of replies in the agent's folder, if its operator wants one.
fn archive(config: &AgentConfig) -> Result<Option<Arc<dyn ReplySink>>, ArchiveError> {
    let Some((folder, max_bytes)) = config.archive() else { return Ok(None) };
    let archive = Archive::open(ArchiveConfig { max_bytes, ..ArchiveConfig::new(folder) })?;
    Ok(Some(Arc::new(archive)))
}

async fn unless_stopped<T>(stop: &CancellationToken, task: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = stop.cancelled() => None,
        value = task => Some(value),
    }
}

/// The server knows us and has heard what we can do.
struct Introduced {
    uplink: Uplink,
    hello_seconds: u32,
}

/// Enrols if need be and says hello, for as long as it takes to reach the server.
async fn introduce(config: &AgentConfig, client: &Client, state: &State) -> Result<Introduced, AgentError> {
    let mut token = config.token.as_deref();
    let mut identity = state.identity()?;
    let mut backoff = Backoff::default();
    loop {
        let known = match identity.take() {
            Some(identity) => identity,
            None => {
                // A token is good for one enrolment.
                let token =
                    token.take().ok_or_else(|| AgentError::NotEnrolled { server: config.server.clone() })?;
                let identity = enroll(config, client, token).await?;
                state.keep(&identity)?;
                identity
            }
        };
        let uplink = Uplink::new(client.clone(), config.server.clone(), known.credential.clone());
        match uplink.hello(&host::hello(config.limits.max_rate_pps)).await {
            Ok(answer) => {
                tracing::info!(server = %config.server, name = known.name, agent_id = known.agent_id, "at work");
                return Ok(Introduced { uplink, hello_seconds: answer.hello_seconds });
            }
            // The server was set up anew, say, and the operator gave a token for it.
            Err(UplinkError::Unauthorized(_)) if token.is_some() => {}
            Err(UplinkError::Unauthorized(why)) => {
                return Err(AgentError::Unauthorized { server: config.server.clone(), why });
            }
            Err(error) => {
                tracing::warn!(server = %config.server, %error, "cannot say hello; trying again");
                identity = Some(known);
                backoff.wait(error.retry_after()).await;
            }
        }
    }
}

async fn enroll(config: &AgentConfig, client: &Client, token: &str) -> Result<Identity, AgentError> {
    let request = EnrollRequest {
        token: token.to_owned(),
        name: config.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut backoff = Backoff::default();
    loop {
        match Uplink::enroll(client, &config.server, &request).await {
            Ok(answer) => {
                return Ok(Identity {
                    server: config.server.to_string(),
                    agent_id: answer.agent_id,
                    name: SafeText::from(answer.name).into_string(),
                    credential: answer.credential,
                });
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(server = %config.server, %error, "cannot enrol yet; trying again");
                backoff.wait(error.retry_after()).await;
            }
            Err(UplinkError::Malformed(why) | UplinkError::Unauthorized(why)) => {
                return Err(AgentError::Enrolment { server: config.server.clone(), why });
            }
            Err(error) => {
                return Err(AgentError::Enrolment { server: config.server.clone(), why: error.to_string() });
            }
        }
    }
}

struct Agent {
    config: AgentConfig,
    spool: Spool,
    workshop: Workshop,
    jobs: JoinSet<Delivery>,
    leftovers: JoinSet<Delivery>,
    stop: CancellationToken,
    hello_seconds: u32,
}

impl Agent {
    /// Hands in what an earlier run of the agent left.
    fn hand_leftovers_in(&mut self) -> Result<(), AgentError> {
        for job in self.spool.leftovers()? {
            if job.finish_request().is_none()
                && let Err(error) = job.finish(cut_short(&job))
            {
                tracing::warn!(%error, "the end of a job is kept in memory only");
            }
            self.leftovers.spawn(deliver(Arc::new(job), self.workshop.uplink.clone()));
        }
        Ok(())
    }

    async fn work(&mut self) -> Result<(), AgentError> {
        let stop = self.stop.clone();
        let mut poll: Option<AbortOnDropHandle<_>> = None;
        let mut next_hello = self.after_hello();
        loop {
            let free_slots =
                self.config.slots.saturating_sub(u32::try_from(self.jobs.len()).unwrap_or(u32::MAX));
            if poll.is_none() && free_slots > 0 {
                // In a task of its own: were it dropped half-way, a job just given to us would be nobody's.
                poll = Some(AbortOnDropHandle::new(tokio::spawn(lease(
                    self.workshop.uplink.clone(),
                    free_slots,
                ))));
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep_until(next_hello) => {
                    self.hello().await?;
                    next_hello = self.after_hello();
                }
                Some(done) = self.jobs.join_next() => self.over(done)?,
                Some(done) = self.leftovers.join_next() => self.over(done)?,
                Some(leased) = polled(&mut poll) => {
                    poll = None;
                    match leased {
                        Ok(leased) => self.start(leased).await?,
                        Err(why) => return Err(self.unauthorized(why)),
                    }
                }
            }
        }
    }

    fn after_hello(&self) -> Instant {
        let (least, most) = HELLO_SECONDS.into_inner();
        Instant::now() + Duration::from_secs(self.hello_seconds.clamp(least, most).into())
    }

    async fn hello(&mut self) -> Result<(), AgentError> {
        match self.workshop.uplink.hello(&host::hello(self.config.limits.max_rate_pps)).await {
            Ok(answer) => self.hello_seconds = answer.hello_seconds,
            Err(UplinkError::Unauthorized(why)) => return Err(self.unauthorized(why)),
            Err(error) => tracing::warn!(%error, "cannot say hello"),
        }
        Ok(())
    }

    async fn start(&mut self, leased: LeasedJob) -> Result<(), AgentError> {
        let (spool, job_id, lease_token) = (self.spool.clone(), leased.job.job_id, leased.lease_token);
        let begun = tokio::task::spawn_blocking(move || spool.begin(job_id, lease_token)).await;
        let job = match begun {
            Ok(Ok(job)) => Arc::new(job),
            Ok(Err(error)) => return self.decline(&leased, &error).await,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        tracing::info!(job = %job_id, scan_id = leased.job.scan_id, "job leased");
        self.jobs.spawn(carry_out(self.workshop.clone(), leased, job, self.stop.child_token()));
        Ok(())
    }

    /// The job cannot even be begun: better to say so than to let the lease run out.
    async fn decline(&self, leased: &LeasedJob, error: &SpoolError) -> Result<(), AgentError> {
        tracing::error!(job = %leased.job.job_id, %error, "cannot begin a job");
        let finish = FinishRequest {
            lease_token: leased.lease_token,
            outcome: JobOutcome::Failed,
            error: Some(SafeText::from(error.to_string())),
            batches: 0,
            summary: JobSummary::default(),
        };
        match self.workshop.uplink.finish(leased.job.job_id, &finish).await {
            Err(UplinkError::Unauthorized(why)) => Err(self.unauthorized(why)),
            Err(error) => {
                tracing::warn!(%error, "the server could not be told");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn over(&self, done: Result<Delivery, tokio::task::JoinError>) -> Result<(), AgentError> {
        match done {
            Ok(Delivery::Done) => tracing::info!("job handed in"),
            Ok(Delivery::Refused(why)) => tracing::warn!(why, "job dropped"),
            Ok(Delivery::Stuck(why)) => tracing::error!(why, "job stays in the spool"),
            Ok(Delivery::Unauthorized(why)) => return Err(self.unauthorized(why)),
            Err(error) => {
                tracing::error!(%error, "a job ended by a fault of the agent; its results stay in the spool");
            }
        }
        Ok(())
    }

    fn unauthorized(&self, why: String) -> AgentError {
        AgentError::Unauthorized { server: self.config.server.clone(), why }
    }

    /// Cancels what runs and hands it in, as far as time allows.
    async fn wind_up(mut self) {
        self.stop.cancel();
        let handed_in = async {
            while self.jobs.join_next().await.is_some() {}
            while self.leftovers.join_next().await.is_some() {}
        };
        if timeout(LAST_WORDS, handed_in).await.is_err() {
            tracing::warn!(
                "results that the server has not taken stay in the spool and are handed in after the next start"
            );
        }
    }
}

/// The end of a job whose agent died while it ran.
fn cut_short(job: &JobSpool) -> FinishRequest {
    FinishRequest {
        lease_token: job.lease.lease_token,
        outcome: JobOutcome::Failed,
        error: Some("the agent was restarted while the scan ran; results are partial".into()),
        batches: 0,
        summary: JobSummary::default(),
    }
}

/// Waits for a job, however long that takes. An error is a refusal of the credential.
async fn lease(uplink: Uplink, free_slots: u32) -> Result<LeasedJob, String> {
    let mut backoff = Backoff::default();
    let wait = Duration::from_secs(Limits::LEASE_WAIT_SECONDS.into());
    loop {
        match uplink.lease(free_slots, wait).await {
            Ok(Some(leased)) => return Ok(leased),
            Ok(None) => backoff.reset(),
            Err(UplinkError::Unauthorized(why)) => return Err(why),
            Err(error) => {
                tracing::warn!(%error, "cannot ask for work; trying again");
                backoff.wait(error.retry_after()).await;
            }
        }
    }
}

async fn polled<T>(poll: &mut Option<AbortOnDropHandle<T>>) -> Option<T> {
    poll.as_mut()?.await.ok()
}
