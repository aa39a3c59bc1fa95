//! The README at the top shows the program that the crate's own README has, which is compiled and run there.

const TOP: &str = include_str!("../README.md");
const CRATE: &str = include_str!("../crates/ifog/README.md");

fn program(readme: &str) -> Option<&str> {
    let start = readme.find("```rust\n")?;
    let len = readme[start..].find("\n```\n")?;
    Some(&readme[start..start + len])
}

#[test]
fn the_program_of_the_readme_is_the_tested_one() {
    assert!(program(CRATE).is_some());
    assert_eq!(program(TOP), program(CRATE));
}
