//! What to ask next, by all that the conversation has shown so far.

use super::{
    conversation::{Conversation, PAGE},
    ntlm,
};
use crate::database::{LAST_GENERAL_TIER, Layer, ProbeRef};

/// Questions of tiers up to this are text, and suit whoever answers in text.
const LAST_TIER_OF_WORDS: u8 = 2;

/// What the state of the conversation allows to ask next.
pub(super) enum Question {
    Favicon,
    Http2,
    LatePage,
    Listen,
    Ntlm(ntlm::Place),
    PageOrTls(ProbeRef),
    Probe(ProbeRef),
    Redirect(String),
    SshAudit,
    Tls,
}

impl Conversation<'_> {
    /// The next question worth a connection, if any is left.
    pub fn next(&mut self) -> Option<Question> {
        if self.may_want_h2() {
            self.offer_h2();
        }
        if self.wants_tls && !self.tls_tried {
            return self.may_connect().then_some(Question::Tls);
        }
        if self.wants_h2 && !self.h2_tried {
            return self.may_connect().then_some(Question::Http2);
        }
        if self.choice.is_some() {
            return self.next_follow_up();
        }
        if let Some(probe) = self.next_after_hint() {
            return Some(Question::Probe(probe));
        }
        if self.endings.endless + self.endings.dripping > 0 || self.endings.refused > 1 {
            return None;
        }
        if !self.listened && !self.identifier.plan.speaks_first(self.endpoint.port) {
            return Some(Question::Listen);
        }
        if self.open.is_none() && !self.may_connect() {
            return None;
        }
        self.next_of_plan()
    }

    /// A question of those that suit the port, or any port, and TLS among these.
    fn next_of_plan(&self) -> Option<Question> {
        let probe = self.next_probe();
        let is_last = probe.as_ref().is_some_and(|probe| probe.probe.tier == LAST_GENERAL_TIER);
        if is_last && self.open.is_none() && self.connections + self.spared() >= self.most_connections() {
            return None;
        }
        let may_try_tls = !self.tls_tried && self.may_connect();
        let is_general = probe.as_ref().is_none_or(|probe| probe.probe.tier > 1);
        if is_general && may_try_tls && !self.asked.is_empty() {
            return Some(Question::Tls);
        }
        let is_page = |probe: &ProbeRef| probe.probe.id == PAGE && self.listened && !self.inside_tls;
        match probe {
            Some(probe) if is_page(&probe) && may_try_tls => Some(Question::PageOrTls(probe)),
            probe => probe.map(Question::Probe),
        }
    }

    /// The first question of the plan that has not been asked and may be heard.
    fn next_probe(&self) -> Option<ProbeRef> {
        let (plan, port) = (&self.identifier.plan, self.endpoint.port);
        let is_beside = self.speaks_in_words() || self.hangs_up_unasked();
        let suits = |probe: &&ProbeRef| {
            let is_general = probe.probe.tier > LAST_TIER_OF_WORDS && !plan.is_usual(port, probe);
            !(self.asked.contains(&probe.probe.id) || is_general && is_beside)
        };
        plan.questions(port, self.identifier.most_daring(), &self.unanswered).find(suits).cloned()
    }

    /// A question that an entry too weak to be a reading makes worth asking.
    fn next_after_hint(&self) -> Option<ProbeRef> {
        let is_wanted = |probe: &&ProbeRef| {
            !self.asked.contains(&probe.probe.id) && probe.probe.after.iter().any(|id| self.hits.contains(id))
        };
        let can = self.open.is_some() || self.may_connect();
        let most = self.identifier.most_daring();
        self.identifier.plan.follow_ups(self.endpoint.port, most).find(is_wanted).filter(|_| can).cloned()
    }

    /// What else the reading makes worth asking.
    fn next_follow_up(&mut self) -> Option<Question> {
        if let Some(path) = self.next_page.take() {
            return Some(Question::Redirect(path));
        }
        if self.awaits_page() {
            return Some(Question::LatePage);
        }
        if let Some(probe) = self.next_after_reading() {
            let can = self.open.is_some() || self.may_connect();
            return can.then_some(Question::Probe(probe));
        }
        if !self.ssh_reply.is_empty() && !self.ssh_audited && self.identifier.config.ssh_audit {
            return Some(Question::SshAudit);
        }
        let can_ask = !self.ntlm_tried && self.ntlm.is_none() && self.may_connect();
        if let Some(place) = self.ntlm_place().filter(|_| can_ask) {
            return Some(Question::Ntlm(place));
        }
        let choice = self.choice.as_ref()?;
        let is_page = choice.best.name.as_str() == "http" && self.fields.get("http.title").is_some();
        let worth = is_page && choice.best.layer != Layer::App && !self.favicon_tried && self.may_connect();
        worth.then_some(Question::Favicon)
    }

    /// A question that depends on what was recognised.
    fn next_after_reading(&self) -> Option<ProbeRef> {
        let choice = self.choice.as_ref()?;
        let has_version = choice.best.get("version").is_some();
        let has_product = choice.best.get("product").is_some();
        let is_wanted = |probe: &ProbeRef| {
            let after = &probe.probe.after;
            // Others' knowledge fills gaps: where a product is known, there is none.
            if probe.foreign.is_some() && has_product {
                return false;
            }
            if &*probe.probe.id == "ssh-kex" {
                let audits = self.identifier.config.ssh_audit && choice.best.name.as_str() == "ssh";
                return audits && self.ssh_reply.is_empty();
            }
            after.iter().any(|id| self.hits.contains(id))
                || !has_version && after.iter().any(|name| name == choice.best.name.as_str())
        };
        self.identifier
            .plan
            .follow_ups(self.endpoint.port, self.identifier.most_daring())
            .find(|probe| !self.asked.contains(&probe.probe.id) && is_wanted(probe))
            .cloned()
    }

    /// Whether what came first was text: then questions in other protocols' bytes only cost connections.
    fn speaks_in_words(&self) -> bool {
        let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
        !self.first_words.is_empty() && self.first_words.iter().all(is_text)
    }

    /// Whether the server closed before it was asked anything: then no question is heard.
    fn hangs_up_unasked(&self) -> bool {
        self.unanswered.contains("banner closed")
    }

    /// Connections kept for what is tried last: an old hello where all made the server hang up, and one question more
    /// where nothing did.
    fn spared(&self) -> u8 {
        let is_mixed = self.endings.closed > 0 && self.endings.silent > 0;
        u8::from(!is_mixed && self.first_words.is_empty() && self.tls.is_none())
    }
}
