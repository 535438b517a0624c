//! What clients demand of an answer.

use model::{Kind, Level, ReadOptions, Spread, WriteOptions};

use super::Workload;

impl Workload {
    pub(super) fn level(&mut self) -> Level {
        let count = u8::try_from(self.dice.between(0, 4)).unwrap_or(1);
        let named = [Level::One, Level::Two, Level::Three, Level::Quorum, Level::All];
        if self.plan.demands != 0 && self.dice.chance(400) {
            let near = [Level::LocalOne, Level::LocalQuorum, Level::EachQuorum, Level::Any];
            return self.dice.pick(&near);
        }
        if self.dice.chance(200) { Level::Count(count) } else { self.dice.pick(&named) }
    }

    /// A level, as often in a thousand as `permille` says.
    pub(super) fn maybe(&mut self, permille: u32) -> Option<Level> {
        self.dice.chance(permille).then(|| self.level())
    }

    pub(super) fn read_options(&mut self) -> ReadOptions {
        let levels = self.plan.levels;
        let (r, pr) = (self.maybe(levels), self.maybe(levels / 5));
        ReadOptions { r, pr, spread: self.spread(), min: self.min() }
    }

    fn spread(&mut self) -> Spread {
        let demands = self.plan.demands;
        if demands == 0 || !self.dice.chance(demands) {
            return Spread::default();
        }
        Spread { nodes: self.dice.pick(&[0, 1, 2, 3]), zones: self.dice.pick(&[0, 1, 2, 3]) }
    }

    fn min(&mut self) -> Kind {
        let demands = self.plan.demands;
        let is_demanded = demands != 0 && self.dice.chance(demands);
        self.minima += u64::from(is_demanded);
        match self.minima % 4 {
            _ if !is_demanded => Kind::Any,
            0 => Kind::Sloppy,
            1 => Kind::Partial,
            _ => Kind::Strict,
        }
    }

    pub(super) fn write_options(&mut self) -> WriteOptions {
        let levels = self.plan.levels;
        WriteOptions {
            w: self.maybe(levels),
            pw: self.maybe(levels / 5),
            dw: self.maybe(levels / 5),
            spread: self.spread(),
            min: self.min(),
        }
    }
}
