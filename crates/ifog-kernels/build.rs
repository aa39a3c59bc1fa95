//! Says whether the crate is compiled without optimisation. What is inlined then shares no stack slots, and an entry would want
//! megabytes of stack, of which a thread has two.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(ifog_unoptimised)");
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level == "0") {
        println!("cargo::rustc-cfg=ifog_unoptimised");
    }
}
