//! Fuzzing: no file and no variable makes the configuration panic.
//!
//! Test T16 of `docs/reliability.md`.

use proptest::prelude::*;
use pvz::config::{Config, Origin, keys};

use super::{env, with_file};

/// Returns lines that are nearly valid, so that the checks after the parser run too.
fn line() -> impl Strategy<Value = String> {
    let names: Vec<String> = keys().iter().map(|key| key.name.to_owned()).collect();
    let sections: Vec<&str> = keys().iter().filter_map(|key| key.section).collect();
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "[0-9]{1,25}(s|d|h|years|KiB|GiB)?".prop_map(|text| format!("{text:?}")),
        "\\PC{0,20}".prop_map(|text| format!("{text:?}")),
        Just("[{ code = 'a', surcharge_minor = -1 }, 3, []]".to_owned()),
        Just("{ a.b = 1979-05-27 }".to_owned()),
        "\\PC{0,20}",
    ];
    prop_oneof![
        (proptest::sample::select(names), value).prop_map(|(name, value)| format!("{name} = {value}")),
        proptest::sample::select(sections).prop_map(|name| format!("[{name}]")),
        "\\PC{0,20}",
    ]
}

proptest! {
    #[test]
    fn no_file_causes_a_panic(lines in prop::collection::vec(line(), 0..12), noise in prop::collection::vec(any::<u8>(), 0..40)) {
        let (file, sources) = with_file(&lines.join("\n"));
        drop(Config::load(&sources));
        std::fs::write(file.path(), noise).unwrap();
        drop(Config::load(&sources));
    }

    #[test]
    fn no_value_causes_a_panic_and_every_fault_names_its_variable(value in "\\PC{1,40}") {
        for key in keys() {
            let Err(faults) = Config::load(&env(&[(key.variable, &value)])) else { continue };
            for fault in &faults.0 {
                prop_assert_eq!(fault.origin.clone(), Some(Origin::Variable(key.variable.to_owned())));
            }
        }
    }
}
