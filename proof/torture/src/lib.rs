//! The torture chamber: real processes of the real program, mistreated.
//!
//! The simulator runs the same decisions over a simulated disk and network, millions of
//! times. What it cannot show is that the real disk, the real system calls and the real
//! process keep what the simulated ones promise. Here the program is killed, its disk loses
//! power, fills up and rots, while clients write; and what they were told is compared with
//! what can be read afterwards.
//!
//! ```text
//! torture process                                  processes under test
//!   workers ── requests ─────────────────────────▶ n1  n2  n3
//!   expected state: pending, acknowledged, unknown   ▲
//!   scenario ── kill, strace, mount, shutdown ───────┘
//!   checker  ── reads everything, compares
//! ```
//!
//! The expected state is in another process than the one that dies, and is told of a write
//! before the node is. Start at [`expected`] for what is checked, at [`cluster`] for the
//! processes, and at [`scenarios`] for what is done to them.
//!
//! **Skipped is an outcome.** Mounts and traces need root and tools. A scenario that cannot
//! run says so, with the reason, and is counted: it never passes by not having run.

pub mod binary;
pub mod book;
pub mod cluster;
pub mod declarations;
pub mod expected;
pub mod held;
pub mod http;
pub mod load;
pub mod memory_group;
pub mod outcome;
pub mod process;
pub mod readers;
pub mod replicas;
pub mod scenarios;
pub mod strace;
pub mod told;
pub mod volume;
pub mod witness;
pub mod worker;
pub mod writers;
