//! Shapes of files that a walk over all for each would not come to an end of. Nothing is timed: who reads in
//! quadratic time is here for hours.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;

use arrival_inf::{Read, Target, format, read};

const MANY: usize = 30_000;
const HEAD: &str =
    "[Version]\nSignature = \"$Windows NT$\"\n[DestinationDirs]\nDefaultDestDir = 13\n";
const SERVICE: &str = "[DefaultInstall.Services]\nAddService = a, , S\n\
    [S]\nServiceType = 0x10\nStartType = 3\nErrorControl = 0\nServiceBinary = /bin/a\n";

fn lines(mut line: impl FnMut(&mut String, usize)) -> String {
    let mut text = String::new();
    for number in 0..MANY {
        line(&mut text, number);
        text.push('\n');
    }
    text
}

fn look(text: &str) -> Read {
    let _ = format::format(Path::new("x.inf"), text);
    read(Path::new("x.inf"), text.as_bytes(), &Target::amd64())
}

#[test]
fn many_models_of_one_section_and_many_classes() {
    let models = lines(|text, n| write!(text, "d{n} = Install, USB\\VID_{n:05X}").unwrap());
    let classes = lines(|text, n| {
        write!(text, "AddInterface = {{573e8c73-0cb4-4471-a1bf-{n:012x}}}").unwrap()
    });
    let head = format!("{HEAD}[Manufacturer]\nm = Models\n[Models]\n");
    let one = "d = Install, USB\\VID_1\n";
    let text = format!("{head}{one}[Install]\n[Install.Interfaces]\n{classes}");
    assert_eq!(look(&text).plan.unwrap().interfaces.len(), MANY);
    let few = classes.lines().take(20).collect::<Vec<_>>().join("\n");
    let text = format!("{head}{models}[Install]\n[Install.Interfaces]\n{few}");
    assert_eq!(look(&text).plan.unwrap().devices.len(), MANY);
    // Each class would have every id.
    let text = format!("{head}{models}[Install]\n[Install.Interfaces]\n{classes}");
    let problems = look(&text).problems;
    assert!(problems.iter().any(|problem| problem.code == "too-many"));
}

#[test]
fn many_values_that_are_set_and_deleted() {
    let set = lines(|text, n| write!(text, "HKR, k{n}, v, , x").unwrap());
    let deleted = lines(|text, n| write!(text, "HKR, K{n}").unwrap());
    let text = format!("{HEAD}{SERVICE}AddReg = A\nDelReg = D\n[A]\n{set}[D]\n{deleted}");
    let plan = look(&text).plan.unwrap();
    assert_eq!(plan.services.first().unwrap().parameters.len(), MANY);
}

#[test]
fn many_files_with_a_line_for_each() {
    let sections = lines(|text, n| write!(text, "CopyFiles = C{n}").unwrap());
    let files = lines(|text, n| write!(text, "[C{n}]\nf{n}").unwrap());
    let folders = lines(|text, n| write!(text, "C{n} = 13, d{n}").unwrap());
    let sources = lines(|text, n| write!(text, "f{n} = 1, s{n}").unwrap());
    let text =
        format!("{HEAD}{folders}[SourceDisksFiles]\n{sources}[DefaultInstall]\n{sections}{files}");
    let plan = look(&text).plan.unwrap();
    assert_eq!(plan.files.len(), MANY);
    assert_eq!(
        plan.files.last().unwrap().source,
        format!("s{0}/f{0}", MANY - 1)
    );
}

#[test]
fn many_services_tokens_items_and_mistakes() {
    let services = lines(|text, n| {
        write!(
            text,
            "AddService = s{n}, , %s{n}%\nDelService = d{n}\nAddService = x{n}, , none{n}"
        )
        .unwrap()
    });
    let sections = lines(|text, n| write!(text, "[S{n}]\nServiceType = 1").unwrap());
    let strings = lines(|text, n| write!(text, "s{n} = S{n}").unwrap());
    let unknown = lines(|text, n| write!(text, "Description = %none{n}%").unwrap());
    let items = lines(|text, n| write!(text, "DataItem = 2, x{n}").unwrap());
    let text = format!(
        "{HEAD}[DefaultInstall.Services]\n{services}AddService = a, , A\n{sections}[A]\nServiceType = 0x10\nStartType = 3\n\
         ErrorControl = 0\nServiceBinary = /bin/a\nAddTrigger = T\n{unknown}[T]\nTriggerType = 1\nAction = 1\n\
         SubType = {{573e8c73-0cb4-4471-a1bf-fab26c31d384}}\n{items}[Strings]\n{strings}"
    );
    let read = look(&text);
    assert!(read.plan.is_none());
    // A hundred are shown, and how many more there are.
    assert_eq!(read.problems.len(), 101);
}

#[test]
fn tokens_that_would_fill_the_memory_are_an_error() {
    let use_of_it = "%a%".repeat(1300);
    let lines = lines(|text, _| write!(text, "DataItem = 2, {use_of_it}").unwrap());
    let lines = lines.get(..2_000_000).unwrap();
    let large = "z".repeat(4000);
    let text = format!(
        "{HEAD}{SERVICE}AddTrigger = T\n[Strings]\na = {large}\n[T]\nTriggerType = 1\nAction = 1\n{lines}"
    );
    let read = look(&text);
    assert!(
        read.problems
            .iter()
            .any(|problem| problem.message.contains("longer than 4095"))
    );
}

#[test]
fn many_manufacturers_beside_many_sections() {
    let makers = lines(|text, n| write!(text, "m{n} = x").unwrap());
    let sections = lines(|text, n| write!(text, "[x.{n}]").unwrap());
    let text = format!(
        "{HEAD}[Manufacturer]\n{makers}{sections}[x]\nd = Install, USB\\VID_1\n[Install]\n"
    );
    assert_eq!(look(&text).plan.unwrap().devices.len(), 1);
}

#[test]
fn sections_that_need_each_other_many_times() {
    let mut text = format!("{HEAD}[DefaultInstall]\nNeeds = n0, n0\n");
    for number in 0..60 {
        write!(
            text,
            "[n{number}]\nNeeds = n{0}, n{0}, n{0}\nCopyFiles = @f{number}\n",
            number + 1
        )
        .unwrap();
    }
    // Deeper than anybody needs it is not looked.
    let read = look(&text);
    assert!(read.plan.is_none_or(|plan| plan.files.len() < 60));
}

#[test]
fn signs_behind_each_of_which_one_would_look_far() {
    const SIGNS: usize = 1_000_000;
    for (sign, end) in [
        ("\\", "x"),
        ("\\ ", "x"),
        ("\\\0", "x"),
        (";", "%"),
        ("%", "x"),
        ("%;", "x"),
        ("\\", ""),
    ] {
        let text = format!("{HEAD}[s]\na = %{}{end}\n", sign.repeat(SIGNS));
        look(&text);
        let text = format!("{HEAD}[s]\na = {}{end}", sign.repeat(SIGNS));
        look(&text);
    }
}
