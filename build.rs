//! Makes sure the folder of the built web app exists, so that the program also builds without it (it then says how to build it).

fn main() {
    println!("cargo::rerun-if-changed=web/app/dist");
    if let Err(error) = std::fs::create_dir_all("web/app/dist") {
        println!("cargo::warning=can't make web/app/dist: {error}");
    }
}
