//! Rot of what guests keep for replicas that are away.

use model::NodeId;
use node::{Hint, HintPlace};

use super::Damage;
use crate::bytes;
use crate::report::Broken;
use crate::world::World;

impl World {
    /// One of these hints is damaged.
    pub(super) fn rot_hint(
        &mut self,
        at: NodeId,
        hints: &[HintPlace],
        (pick, bits): (u64, u64),
        damage: Damage,
    ) -> Result<(), Broken> {
        let index = usize::try_from(pick % (hints.len() as u64).max(1)).unwrap_or(0);
        let Some(place) = hints.get(index) else { return Ok(()) };
        let older = self.host(at).disk.previous_hint(place).cloned();
        let older = match damage {
            Damage::RolledBack if older.is_none() => return Ok(()),
            Damage::RolledBack => older,
            Damage::Lost | Damage::Flipped => None,
        };
        let Some(spot) = self.spot_of_hint(place) else { return Ok(()) };
        if !self.may_lose_hint(at, spot, place, older.as_ref().map(|older| &older.object)) {
            return self.spare();
        }
        let disk = &mut self.host(at).disk;
        let lost = match (damage, older.as_ref()) {
            (Damage::Flipped, _) => return self.flip_hint(at, place, bits),
            (_, Some(older)) => disk.roll_hint_back(place, older),
            (_, None) => disk.lose_hint(place),
        };
        let Some(lost) = lost else { return Ok(()) };
        let name = if older.is_some() { "hint rolled back" } else { "hint lost" };
        self.note_hint_lost(at, place, &lost, older.as_ref(), name)
    }

    /// A hint is really encoded, damaged and read again: that must fail.
    fn flip_hint(&mut self, at: NodeId, place: &HintPlace, bits: u64) -> Result<(), Broken> {
        let Some(hint) = self.host(at).disk.synced_hint(place).cloned() else { return Ok(()) };
        bytes::damage_hint(place, &hint, bits, self.mutant)?;
        self.host(at).disk.damage_hint(place);
        *self.fault_counts.entry("hint flipped").or_default() += 1;
        let words = [16, u64::from(at.number())];
        self.trace.note(self.now, &words, || format!("{at} cannot read {place:?}"));
        Ok(())
    }

    /// Hints with flipped bits are thrown away, as an operator would.
    pub(crate) fn take_damaged_hints_away(&mut self, at: NodeId) -> Result<(), Broken> {
        let damaged: Vec<HintPlace> = self.host(at).disk.damaged_hints().iter().cloned().collect();
        for place in damaged {
            let Some(hint) = self.host(at).disk.lose_hint(&place) else { continue };
            self.note_hint_lost(at, &place, &hint, None, "hint thrown away")?;
        }
        Ok(())
    }

    /// What guests have synced they must keep, whatever they had lost before.
    pub(crate) fn note_synced_hints(&mut self, at: NodeId) {
        for place in self.host(at).disk.take_fresh_hints() {
            let Some(spot) = self.spot_of_hint(&place) else { continue };
            let Some(host) = self.hosts.get(&at) else { continue };
            let Some(hint) = host.disk.synced_hint(&place) else { continue };
            let places = (at, place.target);
            self.oracle.losses.hint_regained(places, spot, hint.object.context());
        }
    }

    fn spot_of_hint(&self, place: &HintPlace) -> Option<usize> {
        self.oracle.spots.iter().position(|spot| spot.address() == place.address)
    }

    fn note_hint_lost(
        &mut self,
        at: NodeId,
        place: &HintPlace,
        hint: &Hint,
        older: Option<&Hint>,
        name: &'static str,
    ) -> Result<(), Broken> {
        let Some(spot) = self.spot_of_hint(place) else { return Ok(()) };
        let left = older.map(|older| older.object.context().clone()).unwrap_or_default();
        let gone = hint.object.context().difference(&left);
        self.oracle.losses.hint_lost((at, place.target), spot, &gone);
        self.oracle.losses.hint_regained((at, place.target), spot, &left);
        *self.fault_counts.entry(name).or_default() += 1;
        let words = [17, u64::from(at.number()), spot as u64];
        self.trace.note(self.now, &words, || format!("{name}: {at} {hint:?} at {place:?}"));
        self.check_copies(at, spot)
    }
}
