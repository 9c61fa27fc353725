//! Two ends of one session, without a network.
