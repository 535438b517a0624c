//! One write and one read that follows it, for all levels at once.

use rand::Rng;

use crate::{Legs, Sample};

/// What one draw of all legs means for every R and W. Made once and drawn again and again:
/// a prediction takes millions of trials.
#[derive(Clone, Debug)]
pub struct Trial {
    replicas: Vec<Sample>,
    /// When the write is acknowledged, by W from 1.
    acknowledged: Vec<f64>,
    /// When the read is answered, by R from 1.
    answered: Vec<f64>,
    /// How long before a replica was asked the write came to it, at the least over the
    /// first R that answered; by R from 1.
    came_before: Vec<f64>,
}

impl Trial {
    /// A trial with so many replicas, before the first draw.
    pub fn new(n: usize) -> Self {
        let zeros = || vec![0.0; n];
        Self {
            replicas: vec![Sample::default(); n],
            acknowledged: zeros(),
            answered: zeros(),
            came_before: zeros(),
        }
    }

    /// Draws all legs anew.
    pub fn draw(&mut self, legs: &Legs, rng: &mut impl Rng) {
        legs.draw(&mut self.replicas, rng);
        for (at, replica) in self.acknowledged.iter_mut().zip(&self.replicas) {
            *at = replica.write + replica.ack;
        }
        self.acknowledged.sort_unstable_by(f64::total_cmp);
        let answered = |replica: &Sample| replica.read + replica.response;
        self.replicas.sort_unstable_by(|a, b| answered(a).total_cmp(&answered(b)));
        let mut least = f64::INFINITY;
        for (index, replica) in self.replicas.iter().enumerate() {
            least = least.min(replica.write - replica.read);
            if let (Some(at), Some(before)) =
                (self.answered.get_mut(index), self.came_before.get_mut(index))
            {
                (*at, *before) = (answered(replica), least);
            }
        }
    }

    /// How long the write took, in milliseconds.
    pub fn write_millis(&self, w: usize) -> f64 {
        of(&self.acknowledged, w)
    }

    /// How long the read took, in milliseconds.
    pub fn read_millis(&self, r: usize) -> f64 {
        of(&self.answered, r)
    }

    /// How long after the acknowledgement the read must begin to return the write, in
    /// milliseconds; 0 if it may begin at once.
    pub fn stale_millis(&self, r: usize, w: usize) -> f64 {
        (of(&self.came_before, r) - of(&self.acknowledged, w)).max(0.0)
    }
}

fn of(by_level: &[f64], level: usize) -> f64 {
    level.checked_sub(1).and_then(|index| by_level.get(index)).copied().unwrap_or(f64::INFINITY)
}
