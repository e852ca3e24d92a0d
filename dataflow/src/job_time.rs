//! What time it is for a job: the watermarks of what it reads, and the timers of its operators.
//!
//! Watermarks are not part of any dataflow. The engine keeps those of sources and tables; that of a view is the least of
//! what it is made from. A tick tells each job that it reaches the watermarks of what it reads, and it reaches those jobs
//! too that wait for a watermark or for a moment of the wall clock.

use crate::jobs::{Jobs, Known};
use crate::operator::Timers;
use millrace_ir::{Node, Plan};
use millrace_types::{EventTime, RelationId};

/// The time of one job.
#[derive(Debug, Default)]
pub struct JobTime {
    /// The relations below it that have a watermark, and what the job was told of each last.
    inputs: Vec<(RelationId, Option<EventTime>)>,
    /// Whether it sees watermarks: it has read all rows that these are about.
    follows: bool,
    /// It has just begun to follow.
    is_new: bool,
    /// When its operators want a tick without input.
    timers: Timers,
}

impl JobTime {
    /// The time of a job that has seen nothing.
    pub fn of(plan: &Node) -> JobTime {
        let mut relations = vec![];
        watermarked(plan, &mut relations);
        relations.sort_unstable();
        relations.dedup();
        JobTime { inputs: relations.into_iter().map(|relation| (relation, None)).collect(), ..JobTime::default() }
    }

    /// Relations are known by other ids now.
    pub fn rename(&mut self, renamed: impl Fn(RelationId) -> RelationId) {
        self.inputs.iter_mut().for_each(|(relation, _)| *relation = renamed(*relation));
    }
}

/// The leaves of a plan that have a watermark.
fn watermarked(node: &Node, relations: &mut Vec<RelationId>) {
    match &node.plan {
        Plan::Input { relation, watermarked: true, .. } => relations.push(*relation),
        _ => node.inputs().into_iter().for_each(|input| watermarked(input, relations)),
    }
}

impl Jobs {
    /// From now on a job sees watermarks.
    pub fn follow(&mut self, job: RelationId) {
        let Some(known) = self.get_mut(job) else { return };
        (known.time.follows, known.time.is_new) = (true, !known.time.inputs.is_empty());
        self.waiting.insert(job);
    }

    /// When the operators of a job want a tick without input.
    pub fn set_timers(&mut self, job: RelationId, timers: Timers) {
        let Some(known) = self.get_mut(job) else { return };
        known.time.timers = timers;
        match timers == Timers::default() && !known.time.is_new {
            true => self.waiting.remove(&job),
            false => self.waiting.insert(job),
        };
    }

    /// Takes in the watermarks that a tick brings; none goes back.
    pub fn advance(&mut self, watermarks: &[(RelationId, EventTime)]) {
        for (relation, watermark) in watermarks {
            let known = self.watermarks.entry(*relation).or_insert(*watermark);
            *known = (*known).max(*watermark);
        }
    }

    /// Forgets the watermark of a source or table.
    pub fn forget_watermark(&mut self, relation: RelationId) {
        self.watermarks.remove(&relation);
    }

    /// The watermark of a relation, if it has one by now.
    pub fn watermark(&self, relation: RelationId) -> Option<EventTime> {
        if let Some(watermark) = self.watermarks.get(&relation) {
            return Some(*watermark);
        }
        let time = &self.get(relation)?.time;
        let all: Option<Vec<EventTime>> = time.inputs.iter().map(|(input, _)| self.watermark(*input)).collect();
        all?.into_iter().min().filter(|_| time.follows)
    }

    /// The watermarks of what a job reads, which it is told now.
    pub fn tell(&mut self, job: RelationId) -> Vec<(RelationId, EventTime)> {
        let Some(known) = self.get(job).filter(|known| known.time.follows && !known.time.inputs.is_empty()) else {
            return vec![];
        };
        let inputs = known.time.inputs.iter();
        let told: Vec<_> = inputs.filter_map(|(input, _)| Some((*input, self.watermark(*input)?))).collect();
        if let Some(known) = self.get_mut(job) {
            known.time.is_new = false;
            for (input, last) in &mut known.time.inputs {
                *last = told.iter().find(|(relation, _)| relation == input).map(|(_, watermark)| *watermark);
            }
        }
        told
    }

    /// The watermarks that a job was told last, of all that it reads and that may have one.
    pub fn told(&self, job: RelationId) -> Vec<(RelationId, Option<EventTime>)> {
        self.get(job).map_or(vec![], |known| known.time.inputs.clone())
    }

    /// A job goes on where it was: it has read all that it was told of. Answers whether it is about the same relations.
    pub fn recall(&mut self, job: RelationId, told: &[(RelationId, Option<EventTime>)]) -> bool {
        let Some(known) = self.get_mut(job) else { return false };
        let same = known.time.inputs.iter().map(|(input, _)| input).eq(told.iter().map(|(input, _)| input));
        (known.attached, known.time.follows, known.time.is_new) = (true, true, false);
        known.time.inputs = told.to_vec();
        self.restored.insert(job);
        same
    }

    /// The jobs that want a tick by what time it is.
    pub fn due(&self, now: EventTime) -> impl Iterator<Item = (RelationId, &Known)> {
        let known = self.waiting.iter().filter_map(|id| Some((*id, self.get(*id)?)));
        known.filter(move |(_, known)| known.attached && self.is_due(&known.time, now))
    }

    fn is_due(&self, time: &JobTime, now: EventTime) -> bool {
        let passed = |timer: EventTime| {
            time.inputs.iter().any(|(input, last)| {
                let watermark = self.watermark(*input).filter(|watermark| last.is_none_or(|last| last < *watermark));
                watermark.is_some_and(|watermark| watermark >= timer)
            })
        };
        time.timers.clock.is_some_and(|alarm| alarm <= now)
            || time.follows && (time.is_new || time.timers.watermark.is_some_and(passed))
    }

    /// The earliest moment of the wall clock at which a job wants a tick.
    pub fn next_alarm(&self) -> Option<EventTime> {
        self.waiting.iter().filter_map(|id| self.get(*id)?.time.timers.clock).min()
    }
}
