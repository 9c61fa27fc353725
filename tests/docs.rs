//! The commands of the documentation, run as they stand there; but for ports, which have to be free.

mod support;

use std::path::Path;
use std::process::Stdio;

use support::{Folder, SOON, lasting_port};
use tokio::process::Command;

/// The blocks of a page that are for a shell.
fn commands(page: &str) -> Vec<String> {
    page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().expect("a first part").to_owned()).collect()
}

/// Runs a page's commands after `before`, in a folder of their own, with the program that was built. What serves goes on while the others are run, once it
/// answers.
async fn run(page: &str, text: &str, before: &str) {
    let folder = Folder::new(&format!("docs-{page}"));
    let (http, admin) = (lasting_port(), lasting_port());
    let programs = Path::new(env!("CARGO_BIN_EXE_switchyard")).parent().expect("a folder").display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\nexport SWITCHYARD_HTTP=127.0.0.1:{http} SWITCHYARD_MEDIA_PORT=0\n{before}\n"
    );
    for line in commands(text).concat().lines() {
        // An error's page is none that was asked for.
        let line = line.replace("8080", &http.to_string()).replace("9090", &admin.to_string()).replace("curl ", "curl -fsS ");
        if line.starts_with("switchyard serve") && !line.split('#').next().unwrap_or_default().trim_end().ends_with('&') {
            let command = line.split('#').next().unwrap_or_default();
            script += &format!("{command} &\nuntil curl -fs http://127.0.0.1:{http}/healthz; do kill -0 $!; sleep 0.05; done\n");
        } else {
            script += &format!("{line}\n");
        }
    }
    let running = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&folder.0)
        .env("PATH", path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SOON * 2, running).await.unwrap_or_else(|_| panic!("{page} is not over:\n{script}")).expect("bash");
    let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{page}: {}\n{script}\n{said}", output.status);
}

#[tokio::test]
async fn what_docs_say_to_type_works() {
    assert_eq!(commands("a\n```sh\none\n```\nb\n```toml\nx\n```\n```sh\ntwo\n```\n"), ["one\n", "two\n"]);
    let develop = "switchyard config example | sed 's/^dev = false/dev = true/' > switchyard.toml";
    run("operate", include_str!("../docs/operate.md"), develop).await;
    run("configure", include_str!("../docs/configure.md"), "export SWITCHYARD_DEV=true").await;
    let readme = include_str!("../README.md");
    let access = readme.split("## Let in whom you mean to").nth(1).expect("how to let in people").split("\n## ").next().expect("a part");
    run("access", access, "").await;
}
