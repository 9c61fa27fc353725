use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn options(arguments: &str) -> (Options, bool) {
    let arguments = ["switchyard", "serve"].into_iter().chain(arguments.split_whitespace());
    let Command::Serve(serve) = Cli::parse_from(arguments).command else { panic!("not serve") };
    (serve.addresses, serve.dev)
}

/// A machine's addresses, as `eth0 192.0.2.7`, and behind them what there is to say of their life.
fn machine(addresses: &[&str]) -> Vec<Own> {
    let own = |text: &&str| {
        let mut words = text.split_whitespace();
        let mut next = || words.next().unwrap_or_default();
        let (interface, ip) = (next().to_owned(), next().parse().unwrap());
        let (is_up, life) = match next() {
            "" => (true, Life::Lasting),
            "down" => (false, Life::Lasting),
            "temporary" => (true, Life::Temporary),
            "deprecated" => (true, Life::Deprecated),
            "duplicate" => (true, Life::Duplicate),
            other => panic!("{other}"),
        };
        Own { ip, interface, is_up, life }
    };
    addresses.iter().map(own).collect()
}

/// What is offered of a machine's addresses, and of the rest why not.
fn chosen(arguments: &str, addresses: &[&str]) -> (String, String) {
    let (options, dev) = options(arguments);
    let text = match choose(&options, dev, machine(addresses)) {
        Ok(choice) => choice.to_string(),
        Err(nothing) => nothing.to_string(),
    };
    let (offered, rest) = text.split_once("; ").unwrap_or((&text, ""));
    (offered.to_owned(), rest.to_owned())
}

#[track_caller]
fn offers(arguments: &str, addresses: &[&str], offered: &str) {
    assert_eq!(chosen(arguments, addresses).0, offered, "{arguments} of {addresses:?}");
}

#[test]
fn the_machines_own_addresses_are_offered_ipv4_first_if_others_can_use_them() {
    let server = [
        "lo 127.0.0.1",
        "lo ::1",
        "eth0 2001:db8::7",
        "eth0 fe80::7",
        "eth0 192.0.2.7",
        "eth1 10.0.0.7",
        "eth2 169.254.0.7",
        "eth3 10.9.9.9 down",
    ];
    let (offered, rest) = chosen("", &server);
    assert_eq!(offered, "192.0.2.7 (eth0), 10.0.0.7 (eth1), 2001:db8::7 (eth0)");
    assert_eq!(
        rest,
        "not 169.254.0.7 (eth2, link-local), 10.9.9.9 (eth3, is down), ::1 (lo, loopback), fe80::7 (eth0, link-local), 127.0.0.1 (lo, loopback)"
    );
    offers("--dev", &server, "192.0.2.7 (eth0), 10.0.0.7 (eth1), 2001:db8::7 (eth0), 127.0.0.1 (lo)");
}

#[test]
fn what_is_worse_is_offered_where_there_is_nothing_better() {
    let all = ["lo 127.0.0.1", "docker0 172.17.0.1", "eth0 2001:db8::1 deprecated", "eth0 2001:db8::2 temporary", "eth0 2001:db8::3"];
    offers("", &all, "2001:db8::3 (eth0)");
    offers("", &all[..4], "2001:db8::2 (eth0)");
    offers("", &all[..3], "2001:db8::1 (eth0)");
    offers("", &all[..2], "172.17.0.1 (docker0)");
    offers("", &all[..1], "127.0.0.1 (lo)");
    offers("--dev", &all[..2], "172.17.0.1 (docker0), 127.0.0.1 (lo)");
    offers("", &["eth0 2001:db8::1 duplicate", "lo 127.0.0.1"], "127.0.0.1 (lo)");
}

#[test]
fn bridges_of_containers_are_told_from_those_that_lead_outside() {
    for interface in
        ["docker0", "docker_gwbridge", "br-0a1b2c3d4e5f", "vethab12cd3", "virbr0", "podman0", "cni0", "lxdbr0", "cali12345678901"]
    {
        offers("", &[&format!("{interface} 172.18.0.1"), "eth0 192.0.2.7"], "192.0.2.7 (eth0)");
    }
    for interface in ["br0", "br-lan", "eth0", "wlp2s0", "wg0", "br-0a1b2c3d4e5"] {
        offers("", &[&format!("{interface} 172.18.0.1"), "lo 127.0.0.1"], &format!("172.18.0.1 ({interface})"));
    }
}

#[test]
fn interfaces_and_networks_choose_among_them() {
    let server = ["lo 127.0.0.1", "eth0 192.0.2.7", "eth1 10.0.0.7", "docker0 172.17.0.1", "eth0 2001:db8::7"];
    for (arguments, offered) in [
        ("--interfaces eth1", "10.0.0.7 (eth1)"),
        ("--interfaces eth*,!eth0", "10.0.0.7 (eth1)"),
        ("--interfaces !eth0", "10.0.0.7 (eth1)"),
        ("--interfaces !eth*", "172.17.0.1 (docker0)"),
        ("--interfaces eth1,docker0", "10.0.0.7 (eth1), 172.17.0.1 (docker0)"),
        ("--interfaces eth1 --interfaces lo", "10.0.0.7 (eth1), 127.0.0.1 (lo)"),
        ("--networks 10.0.0.0/8", "10.0.0.7 (eth1)"),
        ("--networks !::/0", "192.0.2.7 (eth0), 10.0.0.7 (eth1)"),
        ("--networks 0.0.0.0/0", "192.0.2.7 (eth0), 10.0.0.7 (eth1)"),
        ("--networks 172.17.0.0/16", "172.17.0.1 (docker0)"),
        ("--networks 2001:db8::/32,10.0.0.7", "10.0.0.7 (eth1), 2001:db8::7 (eth0)"),
        ("--interfaces eth0 --networks !192.0.2.0/24", "2001:db8::7 (eth0)"),
        ("--dev --interfaces eth1", "10.0.0.7 (eth1)"),
        ("--dev --networks !10.0.0.0/8,!::/0", "192.0.2.7 (eth0), 127.0.0.1 (lo)"),
    ] {
        offers(arguments, &server, offered);
    }
}

#[test]
fn where_nothing_is_left_the_error_says_what_there_is() {
    let server = ["lo 127.0.0.1", "eth0 192.0.2.7", "eth0 fe80::7"];
    let (options, dev) = options("--interfaces eth* --networks !192.0.2.0/24");
    let error = choose(&options, dev, machine(&server)).unwrap_err().to_string();
    for part in ["192.0.2.7 (eth0, by networks)", "127.0.0.1 (lo, by interfaces)", "fe80::7 (eth0, link-local)"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_is_advertised_takes_the_place_of_the_machines_own_addresses_or_stands_beside_them() {
    let server = ["lo 127.0.0.1", "eth0 10.0.0.7", "eth1 10.1.0.7"];
    for (arguments, offered) in [
        ("--advertise 203.0.113.7", "203.0.113.7 (not this machine's)"),
        ("--advertise 203.0.113.7,203.0.113.7", "203.0.113.7 (not this machine's)"),
        ("--advertise 203.0.113.7,own", "203.0.113.7 (not this machine's), 10.0.0.7 (eth0), 10.1.0.7 (eth1)"),
        ("--advertise own,203.0.113.7", "10.0.0.7 (eth0), 10.1.0.7 (eth1), 203.0.113.7 (not this machine's)"),
        ("--advertise own --advertise 203.0.113.7 --interfaces eth1", "10.1.0.7 (eth1), 203.0.113.7 (not this machine's)"),
        ("--advertise own,203.0.113.7 --interfaces eth7", "203.0.113.7 (not this machine's)"),
        ("--advertise 10.1.0.7,own", "10.1.0.7 (eth1), 10.0.0.7 (eth0)"),
        ("--advertise 127.0.0.1", "127.0.0.1 (lo)"),
    ] {
        offers(arguments, &server, offered);
    }
    assert_eq!(chosen("--advertise 10.1.0.7", &server).1, "", "nothing is said of those that nobody wants");
}

#[test]
fn a_choice_among_addresses_that_are_not_advertised_contradicts_itself() {
    for (arguments, is_right) in [
        ("--advertise 203.0.113.7", true),
        ("--interfaces eth0 --networks 10.0.0.0/8", true),
        ("--advertise own,203.0.113.7 --interfaces eth0", true),
        ("--advertise 203.0.113.7 --interfaces eth0", false),
        ("--advertise 203.0.113.7 --networks 10.0.0.0/8", false),
    ] {
        assert_eq!(options(arguments).0.check().is_ok(), is_right, "{arguments}");
    }
}

#[test]
fn no_more_are_offered_than_a_client_may_be_asked_to_try() {
    let many: Vec<String> = (1..=20).map(|last| format!("eth0 10.0.0.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (options, dev) = options("");
    let choice = choose(&options, dev, machine(&many)).unwrap();
    assert_eq!(choice.offered.len(), MAX_CANDIDATES);
    assert!(choice.to_string().ends_with("10.0.0.20 (eth0, too many)"), "{choice}");
    let candidates = choice.candidates(9, Some("0.0.0.0:80".parse().unwrap()));
    assert_eq!(candidates.iter().filter(|candidate| candidate.tcp).count(), MAX_TCP_CANDIDATES);
}

#[test]
fn tcp_is_offered_behind_udp_where_it_is_listened_to() {
    let machine = ["lo 127.0.0.1", "eth0 10.0.0.7", "eth1 10.1.0.7", "eth0 2001:db8::7"];
    let offered = |arguments: &str, tcp: &str| -> Vec<String> {
        let (options, dev) = options(arguments);
        let candidates = choose(&options, dev, self::machine(&machine)).unwrap().candidates(9, Some(tcp.parse().unwrap()));
        let first = candidates.iter().position(|candidate| candidate.tcp).unwrap_or(candidates.len());
        assert!(candidates[first..].iter().all(|candidate| candidate.tcp), "{candidates:?}");
        candidates[first..].iter().map(|candidate| candidate.addr.to_string()).collect()
    };
    for (arguments, listener, candidates) in [
        ("--advertise 192.0.2.7,127.0.0.1", "[::]:80", &["192.0.2.7:80", "127.0.0.1:80"][..]),
        ("--advertise 192.0.2.7", "10.0.0.7:80", &["192.0.2.7:80"]),
        ("--advertise 192.0.2.7", "127.0.0.1:80", &[]),
        ("--advertise 192.0.2.7,own", "10.0.0.7:80", &["192.0.2.7:80", "10.0.0.7:80"]),
        ("--dev", "127.0.0.1:80", &["127.0.0.1:80"]),
        ("", "10.1.0.7:80", &["10.1.0.7:80"]),
        ("", "0.0.0.0:80", &["10.0.0.7:80", "10.1.0.7:80"]),
        ("", "[::]:80", &["10.0.0.7:80", "10.1.0.7:80", "[2001:db8::7]:80"]),
    ] {
        assert_eq!(offered(arguments, listener), candidates, "{arguments:?}, HTTP at {listener}");
    }
}

#[test]
fn media_has_the_number_of_https_port_where_browsers_take_that() {
    let usual = |addresses: &[&str], http| {
        let (options, dev) = options("--dev");
        choose(&options, dev, machine(&[addresses, &["lo 127.0.0.1"]].concat())).unwrap().usual_port(http)
    };
    assert_eq!(usual(&["eth0 10.1.0.7"], 8080), 8080);
    assert_eq!(usual(&["eth0 10.1.0.7"], 8443), 8443);
    assert_eq!(usual(&["eth0 203.0.113.7", "eth1 10.1.0.7"], 443), 443);
    assert_eq!(usual(&["eth0 2001:db8::7", "eth1 10.1.0.7"], 443), 443);
    for private in ["10.1.0.7", "172.31.0.7", "192.168.0.7", "100.64.0.7", "100.127.0.7", "fd00::7"] {
        assert_eq!(usual(&[&format!("eth0 {private}")], 443), 8080, "{private}");
    }
    for public in ["9.255.255.255", "172.32.0.7", "198.18.0.7", "100.128.0.7", "2001:db8::7"] {
        assert_eq!(usual(&[&format!("eth0 {public}")], 443), 443, "{public}");
    }
    assert_eq!(usual(&["eth0 203.0.113.7"], 444), 8080, "no other port below 1024");
}
