//! Prints the TypeScript module of the protocol.

fn main() {
    print!("{}", switchyard_protocol::typescript());
}
