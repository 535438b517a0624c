//! Every input that was ever worth keeping, at every `cargo test`.
//!
//! One test and no threads, because the memory that an input takes is counted.

#[test]
fn every_kept_input_is_read_or_refused_as_it_must_be() {
    for target in fuzz::all() {
        target.warm_up();
        let kept = fuzz::kept(target);
        assert!(!(target.seeds)().is_empty(), "{} has no seeds", target.name);
        for input in &kept {
            let ended = std::panic::catch_unwind(|| target.check(input));
            assert!(ended.is_ok(), "{}: {}", target.name, fuzz::hex(input));
        }
        println!("{}: {} inputs", target.name, kept.len());
    }
}
