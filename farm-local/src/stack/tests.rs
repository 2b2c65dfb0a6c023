use super::*;
use std::fs;
use tempfile::TempDir;

/// A folder with a `rust-farm` template, a handler `work`, and this stack file.
fn folder(stack: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template/rust-farm");
    fs::create_dir_all(&template).unwrap();
    fs::create_dir(folder.path().join("work")).unwrap();
    fs::write(
        template.join("template.yml"),
        "language: rust-farm\nfprocess: ./handler\n",
    )
    .unwrap();
    fs::write(folder.path().join("stack.yml"), stack).unwrap();
    folder
}

fn load(folder: &TempDir) -> Result<Stack, StackError> {
    let stack = Stack::load_with(&folder.path().join("stack.yml"), |name| {
        (name == "TAG").then(|| "v1".to_owned())
    })?;
    let names = stack.select(&[])?;
    stack.check(&names, &ReadyMade::new())?;
    Ok(stack)
}

/// The message of a stack that is refused, without the folder in front.
fn refusal(stack: &str) -> String {
    let folder = folder(stack);
    let message = load(&folder).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    let start = format!("{}/", folder.path().display());
    message.strip_prefix(&start).unwrap_or(&message).to_owned()
}

const HEAD: &str = "version: 1.0\nprovider: {name: openfaas}\nfunctions:\n";

#[test]
fn a_stack_is_read_as_faas_cli_reads_it() {
    let folder = folder(&format!(
        "{HEAD}  work:
    lang: rust-farm
    handler: ./work
    image: me/work:${{TAG}}
    environment: {{VERSION: 1.10, ON: true, EMPTY: , PRICE: $$5, KEPT: inline, HEX: 0x10}}
    environment_file: [more.yml]
    secrets: [db]
    labels: {{com.openfaas.scale.min: 2}}
    limits: {{memory: 64Mi}}
    resources: {{limits: 1}}
configuration:
  copy: [common]
  templates: [{{name: rust-farm, source: x}}]
surprise: 1
"
    ));
    fs::write(
        folder.path().join("more.yml"),
        "environment: {KEPT: from file}",
    )
    .unwrap();
    let stack = load(&folder).unwrap();
    let work = &stack.functions["work"];
    let expected = [
        ("EMPTY", ""),
        ("HEX", "0x10"),
        ("KEPT", "from file"),
        ("ON", "true"),
        ("PRICE", "$5"),
        ("VERSION", "1.10"),
    ];
    let actual: Vec<_> = work
        .environment
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(actual, expected);
    assert_eq!(work.image, "me/work:v1");
    assert_eq!(
        work.deployment().labels.unwrap()["com.openfaas.scale.min"],
        "2"
    );
    assert_eq!(work.limits.as_ref().unwrap().memory, "64Mi");
    assert_eq!(stack.copy, [PathBuf::from("common")]);
    let warned: Vec<_> = stack
        .warnings
        .iter()
        .map(|w| w.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(warned, ["functions.work.resources", "surprise"]);
}

#[test]
fn bad_yaml_names_the_line() {
    let message = refusal(&format!("{HEAD}  work:\n    lang: a: b\n"));
    assert!(message.contains("line 5"), "{message}");
    let message = refusal(&format!("{HEAD}  work:\n    lang: [a]\n"));
    assert!(
        message.contains("functions.work.lang") && message.contains("line 5"),
        "{message}"
    );
    assert!(refusal(&format!("{HEAD}  work: {{image: \"${{A\"}}\n")).contains("line 4"));
}

#[test]
fn what_cannot_run_is_refused_with_the_function_and_the_remedy() {
    for (stack, expected) in [
        (
            "provider: {name: faas}\n",
            "stack.yml: provider.name must be openfaas, not \"faas\"",
        ),
        (
            "version: 2.0\nprovider: {name: openfaas}\n",
            "version must be 1.0, not \"2.0\"",
        ),
        ("provider: {name: openfaas}\n", "it has no functions"),
    ] {
        assert!(refusal(stack).contains(expected), "{}", refusal(stack));
    }
    for (function, expected) in [
        (
            "Work: {lang: rust-farm, handler: work}",
            "function Work: its name is not usable",
        ),
        ("work: {handler: work}", "function work: it has no lang"),
        (
            "work: {lang: python, handler: work}",
            "lang python needs Docker",
        ),
        (
            "work: {lang: Dockerfile, handler: work}",
            "lang dockerfile needs Docker",
        ),
        (
            "work: {lang: rust-farm@v1, handler: work}",
            "faas-cli template pull",
        ),
        ("work: {lang: rust-farm}", "it has no handler"),
        (
            "work: {lang: rust-farm, handler: ./gone}",
            "no handler folder ./gone",
        ),
        (
            "work: {lang: rust-farm, skip_build: true, image: a}",
            "no other function of the stack builds its image a",
        ),
        (
            "work: {lang: rust-farm, handler: work, environment_file: [gone.yml]}",
            "gone.yml: No such file",
        ),
        (
            "work: {lang: rust-farm, handler: work, namespace: dev}",
            "namespace \"dev\" does not exist",
        ),
        (
            "work: {lang: rust-farm, handler: work, environment: {FARM_GRACE_PERIOD: 5}}",
            "FARM_GRACE_PERIOD: \"5\" is not a duration",
        ),
        (
            "work: {lang: rust-farm, handler: work, environment: {FARM_NAME: A}}",
            "FARM_NAME: farm name \"A\" is not usable",
        ),
    ] {
        let message = refusal(&format!("{HEAD}  {function}\n"));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn functions_of_one_farm_must_agree() {
    let function = |name: &str, environment: &str| {
        format!("  {name}: {{lang: rust-farm, handler: work, environment: {{{environment}}}}}\n")
    };
    let stack = format!(
        "{HEAD}{}{}",
        function("a", "FARM_NAME: f, FARM_ACK_WAIT: 10s"),
        function("b", "FARM_NAME: f")
    );
    let message = refusal(&stack);
    assert_eq!(
        message,
        "stack.yml: functions a and b belong to farm f but FARM_ACK_WAIT is \"10s\" in one and not set in the other: write the same in both"
    );
    let stack = format!(
        "{HEAD}{}{}",
        function("a", "FARM_ACK_WAIT: 10s"),
        function("b", "")
    );
    assert!(load(&folder(&stack)).is_ok());
}

#[test]
fn functions_with_one_image_are_built_once() {
    let folder = folder(&format!(
        "{HEAD}  a: {{lang: rust-farm, handler: work, image: i}}\n  b: {{skip_build: true, image: i}}\n"
    ));
    let stack = load(&folder).unwrap();
    assert_eq!(stack.source_of(&stack.functions["b"]).name, "a");
}

#[test]
fn a_filter_chooses_by_name_or_wildcard() {
    let folder = folder(&format!(
        "{HEAD}  thumb-a: {{lang: rust-farm, handler: work}}\n  thumb-b: {{lang: python}}\n  other: {{}}\n"
    ));
    let stack = Stack::load(&folder.path().join("stack.yml")).unwrap();
    let select = |patterns: &[&str]| {
        stack.select(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(select(&["thumb-*"]).unwrap(), ["thumb-a", "thumb-b"]);
    assert_eq!(select(&["*-a", "other"]).unwrap(), ["other", "thumb-a"]);
    assert!(
        stack
            .check(&select(&["thumb-a"]).unwrap(), &ReadyMade::new())
            .is_ok()
    );
    assert!(
        select(&["none*"])
            .unwrap_err()
            .to_string()
            .contains("other, thumb-a, thumb-b")
    );
}
