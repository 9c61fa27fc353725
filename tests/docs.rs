//! The commands of the documentation, run as they stand there; but for ports, which have to be free.

#[path = "support/http.rs"]
mod http;
mod support;

use std::path::Path;
use std::process::Stdio;

use support::{Folder, SOON, lasting_port};
use tokio::process::Command;

/// The blocks of a page that are for a shell, but those for Docker, which the container tests run.
fn commands(page: &str) -> Vec<String> {
    page.split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a first part").to_owned())
        .filter(|block| !block.starts_with("docker "))
        .collect()
}

/// The blocks of a page that are configuration files. A key that has several lines shows what else it may be: there is a file for each.
fn configurations(page: &str) -> Vec<String> {
    let blocks = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("a first part"));
    blocks.flat_map(variants).collect()
}

fn variants(block: &str) -> Vec<String> {
    let mut lines: Vec<(Option<&str>, Vec<&str>)> = Vec::new();
    for line in block.lines() {
        let key = line.split_once(" = ").map(|(key, _)| key.trim());
        match lines.iter_mut().find(|(known, _)| key.is_some() && *known == key) {
            Some((_, variants)) => variants.push(line),
            None => lines.push((key, vec![line])),
        }
    }
    let count = lines.iter().map(|(_, variants)| variants.len()).max().unwrap_or_default();
    let variant = |number: usize| lines.iter().map(|(_, variants)| format!("{}\n", variants[number.min(variants.len() - 1)])).collect();
    (0..count).map(variant).collect()
}

/// A section of a page, with those below it.
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let start = page.find(&format!("\n{title}\n")).unwrap_or_else(|| panic!("no {title}"));
    let level = title.split(' ').next().unwrap_or_default();
    page[start + 1..].split(&format!("\n{level} ")).next().unwrap_or_default()
}

/// What stands for programs that a test can't run: building takes long, and systemd is not there. `systemctl` starts what the unit starts, with the environment that
/// it gives, and stops and reloads it.
const STAND_INS: &str = r#"
mkdir -p usr/local/bin etc/systemd/system root var/lib/switchyard
# Nobody gives certificates there.
export SWITCHYARD_ACME_DIRECTORY=https://127.0.0.1:9/dir
ln -s "$CHECKOUT/deploy" deploy
ln -s "$(type -P switchyard)" usr/local/bin
cargo() {
    case "$*" in
        "xtask web") ;;
        "build --release --locked --package switchyard") mkdir -p target/release; cp "$(type -P switchyard)" target/release ;;
        *) echo "cargo $* is not known here" >&2; return 1 ;;
    esac
}
unit() { find etc/systemd -type f -exec sed -n "s|^$1=||p" {} +; }
stop() { kill -TERM $main; wait $main; main=; }
systemctl() {
    case "$*" in
        daemon-reload) grep -q '^ExecStart=/' etc/systemd/system/switchyard.service ;;
        "enable --now switchyard" | "restart switchyard")
            if [ "${main:-}" ]; then stop; fi
            mkdir -p credentials
            unit LoadCredential | while IFS=: read -r name from; do cp "$PWD${from#"$PWD"}" credentials/$name; done
            export $(unit Environment | sed "s|%d|$PWD/credentials|g")
            $(unit ExecStart | sed "s|/etc/|$PWD/etc/|; s|/usr/|$PWD/usr/|") & main=$!
            until curl -fs "http://$SWITCHYARD_HTTP/healthz"; do kill -0 $main; sleep 0.05; done ;;
        "reload switchyard") kill -HUP $main ;;
        "stop switchyard") stop ;;
        *) echo "systemctl $* is not known here" >&2; return 1 ;;
    esac
}
journalctl() { [ "$*" = "--unit switchyard" ]; }
"#;

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
        // What belongs to the machine is in the folder here.
        let line = ["/etc/", "/usr/local/", "/root/", "/var/lib/"]
            .iter()
            .fold(line, |line, root| line.replace(root, &format!("{}{root}", folder.0.display())));
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

#[test]
fn sections_end_where_the_next_begins() {
    let page = "# a\n## b\none\n### c\ntwo\n## d\nthree\n";
    assert_eq!(section(page, "## b"), "## b\none\n### c\ntwo");
    assert_eq!(section(page, "### c"), "### c\ntwo\n## d\nthree\n");
}

#[test]
fn a_configuration_with_alternatives_is_several() {
    let page = "a\n```toml\nx = 1\ny = 1\ny = 2\n```\nb\n```toml\nz = 1 # = 2\n```\n```sh\nx = 1\n```\n";
    assert_eq!(configurations(page), ["x = 1\ny = 1\n", "x = 1\ny = 2\n", "z = 1 # = 2\n"]);
}

#[tokio::test]
async fn what_docs_have_as_configuration_is_right() {
    let folder = Folder::new("docs-toml");
    let mut count = 0;
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let pages = std::fs::read_dir(docs).expect("docs").map(|page| page.expect("read").path());
    for page in pages.chain([Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")]) {
        for text in configurations(&std::fs::read_to_string(&page).expect("a page")) {
            let file = folder.0.join("switchyard.toml");
            std::fs::write(&file, &text).expect("written");
            let check = Command::new(env!("CARGO_BIN_EXE_switchyard")).args(["config", "check"]).arg(&file).output();
            let checked = tokio::time::timeout(SOON, check).await.expect("in time").expect("it starts");
            let said = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{}: {said}\n{text}", page.display());
            count += 1;
        }
    }
    assert!(count >= 9, "only {count} were found");
}

#[tokio::test]
async fn what_docs_say_to_type_works() {
    assert_eq!(commands("a\n```sh\none\n```\nb\n```toml\nx\n```\n```sh\ntwo\n```\n"), ["one\n", "two\n"]);
    let develop = "switchyard config example | sed 's/^dev = false/dev = true/' > switchyard.toml";
    run("operate", include_str!("../docs/operate.md"), develop).await;
    run("configure", include_str!("../docs/configure.md"), "export SWITCHYARD_DEV=true").await;
    let readme = include_str!("../README.md");
    run("network", include_str!("../docs/network.md"), "").await;
    run("access", section(readme, "## Let in whom you mean to"), "").await;
    run("api", include_str!("../docs/api.md"), "").await;
    let access = include_str!("../docs/access.md");
    let (tokens, origins) = access.split_once("## Pages of other origins").expect("the last section");
    let offer = http::offer(&[("audio", "sendonly")]);
    run("tokens", tokens, &format!("cat > offer.sdp <<'END'\n{offer}END")).await;
    run("origins", origins, "switchyard keys new access-keys.json").await;
    let install = include_str!("../docs/install.md");
    let stand_ins = format!("CHECKOUT={}\n{STAND_INS}", env!("CARGO_MANIFEST_DIR"));
    run("install", section(install, "## The program"), &stand_ins).await;
    run("systemd", section(install, "## systemd"), &stand_ins).await;
}
