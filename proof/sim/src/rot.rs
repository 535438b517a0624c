//! Rot: records that vanish, turn old or lose their sense, each on one disk, without a word.
//!
//! Disks do that, and so does software. What it takes away is noted in the [losses], so that
//! the oracle knows what may be missing, and the atlas is asked before.
//!
//! [losses]: crate::losses

mod hints;

use model::{NodeId, Object};

use crate::bytes;
use crate::dice::Dice;
use crate::disk::Place;
use crate::report::Broken;
use crate::swarm::DiskPlan;
use crate::world::{Event, Phase, World};

/// What happens to a record.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// It vanishes.
    Lost,
    /// It is what it was before it was written last.
    RolledBack,
    /// Some of its bits are flipped.
    Flipped,
}

/// Damages records.
pub(crate) struct Rot {
    dice: Dice,
    /// Mean microseconds between two records. Zero for none.
    gap: u64,
    /// Weights of each kind of damage.
    weights: [u32; 3],
}

impl Rot {
    pub(crate) fn new(plan: &DiskPlan, dice: Dice) -> Self {
        Self { dice, gap: plan.rot, weights: plan.rots }
    }

    /// Whether any record is damaged.
    pub(crate) fn is_on(&self) -> bool {
        self.gap != 0
    }

    fn draw(&mut self) -> Damage {
        let [lost, rolled_back, flipped] = self.weights;
        self.dice.weighted(&[
            (lost, Damage::Lost),
            (rolled_back, Damage::RolledBack),
            (flipped, Damage::Flipped),
        ])
    }
}

impl World {
    /// Arranges that the next record is damaged, if records are.
    pub(crate) fn arrange_rot(&mut self) {
        if self.rot.gap != 0 {
            let gap = self.rot.dice.micros(self.rot.gap, 0);
            self.arrange(gap, Event::Rot);
        }
    }

    /// A record is damaged, whether its node is up or not, and nobody is told.
    pub(crate) fn rot(&mut self) -> Result<(), Broken> {
        if self.phase != Phase::Safety {
            return Ok(());
        }
        self.arrange_rot();
        let nodes: Vec<NodeId> = self.layout.members.keys().copied().collect();
        let (at, damage) = (self.rot.dice.pick(&nodes), self.rot.draw());
        let (pick, bits) = (self.rot.dice.bits(), self.rot.dice.bits());
        if !self.count_fault() {
            return Ok(());
        }
        let hints = self.host(at).disk.settled_hints();
        // There are few of those at a time, and half of the damage is theirs.
        if !hints.is_empty() && pick >> 63 == 1 {
            return self.rot_hint(at, &hints, (pick, bits), damage);
        }
        let places = self.host(at).disk.settled_places();
        let index = usize::try_from(pick % (places.len() as u64).max(1)).unwrap_or(0);
        let Some(place) = places.get(index) else { return Ok(()) };
        match damage {
            Damage::Lost => self.lose_record(at, place),
            Damage::RolledBack => self.roll_record_back(at, place),
            Damage::Flipped => self.flip_record(at, place, bits),
        }
    }

    fn lose_record(&mut self, at: NodeId, place: &Place) -> Result<(), Broken> {
        if !self.may_lose(at, place, None) {
            return self.spare();
        }
        let Some(object) = self.host(at).disk.lose(place) else { return Ok(()) };
        self.repairs.note_loss(at);
        self.note_unhealed(at, place, &object, None);
        self.note_rotten(at, place);
        self.note_lost(at, place, &object, None, "record lost")
    }

    fn roll_record_back(&mut self, at: NodeId, place: &Place) -> Result<(), Broken> {
        let Some(older) = self.host(at).disk.previous(place).cloned() else { return Ok(()) };
        if !self.may_lose(at, place, Some(&older)) {
            return self.spare();
        }
        let Some(object) = self.host(at).disk.roll_back(place, older.clone()) else {
            return Ok(());
        };
        self.repairs.note_loss(at);
        self.note_unhealed(at, place, &object, Some(&older));
        self.note_rotten(at, place);
        self.note_lost(at, place, &object, Some(&older), "record rolled back")
    }

    /// The record is really encoded, damaged and read again: that must fail.
    fn flip_record(&mut self, at: NodeId, place: &Place, bits: u64) -> Result<(), Broken> {
        if !self.may_lose(at, place, None) {
            return self.spare();
        }
        let Some(object) = self.host(at).disk.synced_object(place).cloned() else { return Ok(()) };
        bytes::damage_record(place, &object, bits, self.mutant)?;
        self.host(at).disk.damage(place);
        self.note_rotten(at, place);
        self.repairs.note_loss(at);
        self.note_unhealed(at, place, &object, None);
        *self.fault_counts.entry("record flipped").or_default() += 1;
        self.trace.note(self.now, &[14, u64::from(at.number())], || {
            format!("{at} cannot read {place:?}")
        });
        Ok(())
    }

    /// Records with flipped bits are thrown away, as an operator would.
    pub(crate) fn take_damaged_away(&mut self, at: NodeId) -> Result<(), Broken> {
        let damaged = self.host(at).disk.damaged().iter().cloned().collect();
        self.take_away(at, damaged)
    }

    /// The same of those that are older than what is forgotten, which cannot be read either. Requests may
    /// not fail any more, and whoever reads them has them healed only then.
    pub(crate) fn take_old_away(&mut self, at: NodeId) -> Result<(), Broken> {
        let disk = &self.host(at).disk;
        let is_old = |(place, object): &(&Place, &Object)| {
            let forgotten = disk.view().forgotten(place.0);
            let mut held = object.values().keys();
            forgotten.is_some_and(|dots| held.any(|dot| dots.contains(*dot)))
        };
        let old = disk.view().objects.iter().filter(is_old).map(|(place, _)| place.clone());
        let old: Vec<Place> = old.collect();
        self.sums.thrown_away.extend(old.iter().map(|place| (at, place.0)));
        self.take_away(at, old)
    }

    fn take_away(&mut self, at: NodeId, places: Vec<Place>) -> Result<(), Broken> {
        for place in places {
            let Some(object) = self.host(at).disk.lose(&place) else { continue };
            self.repairs.note_loss(at);
            self.note_rotten(at, &place);
            self.note_lost(at, &place, &object, None, "record thrown away")?;
        }
        Ok(())
    }

    /// A repair has put something in the place of records that could not be read. What they held
    /// is lost for good with that.
    pub(crate) fn note_replaced_records(
        &mut self,
        at: NodeId,
        damaged: Vec<(Place, Object)>,
    ) -> Result<(), Broken> {
        for (place, object) in damaged {
            if !self.host(at).disk.damaged().contains(&place) {
                self.note_lost(at, &place, &object, None, "damaged record replaced")?;
            }
        }
        Ok(())
    }

    fn spare(&mut self) -> Result<(), Broken> {
        *self.fault_counts.entry("record spared by the atlas").or_default() += 1;
        Ok(())
    }

    fn note_lost(
        &mut self,
        at: NodeId,
        place: &Place,
        object: &Object,
        older: Option<&Object>,
        name: &'static str,
    ) -> Result<(), Broken> {
        let Ok(spot) = self.oracle.spot_of(place) else { return Ok(()) };
        self.oracle.losses.record_lost(at, spot, object, older, self.now);
        self.oracle.forget_base(at, spot);
        *self.fault_counts.entry(name).or_default() += 1;
        let words = [10, u64::from(at.number()), spot as u64];
        self.trace.note(self.now, &words, || format!("{name}: {at} {object:?} at {place:?}"));
        self.check_copies(at, spot)
    }
}
