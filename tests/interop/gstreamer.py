#!/usr/bin/python3
"""Publishes a test pattern and a tone by WHIP, plays them by WHEP, with GStreamer's webrtcbin: a client that shares nothing with the server.

    tests/interop/gstreamer.py http://127.0.0.1:8080 [ROOM] [--again]
    tests/interop/gstreamer.py --check

Plays the publisher alone and the whole room, until each player has decoded enough frames and buffers of sound; says what it counted, and
fails if that takes longer than half a minute. With --again all of them end and come anew. Needs the Debian packages named in PACKAGES; --check only
says whether they are there.
The server must offer an address of the machine that is not loopback (`serve --dev` does): libnice never uses loopback.
"""

import argparse
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

PACKAGES = (
    "python3-gst-1.0 gir1.2-gst-plugins-bad-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad "
    "gstreamer1.0-nice"
)

try:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstSdp", "1.0")
    gi.require_version("GstWebRTC", "1.0")
    from gi.repository import GLib, Gst, GstSdp, GstWebRTC
except (ImportError, ValueError) as error:
    sys.exit(f"{error}\nOn Debian, as root: apt-get install --no-install-recommends {PACKAGES}")

# One of each package.
ELEMENTS = "webrtcbin nicesrc dtlsenc srtpenc vp8enc vp8dec opusenc opusdec rtpvp8pay rtpopuspay videotestsrc audiotestsrc decodebin".split()

# What each player has to decode.
FRAMES, BUFFERS = 60, 100
SECONDS = 30

PUBLISH = """
    webrtcbin name=peer bundle-policy=max-bundle
    videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=25/1 ! queue
        ! vp8enc deadline=1 keyframe-max-dist=50 target-bitrate=300000 ! rtpvp8pay picture-id-mode=15-bit
        ! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! peer.
    audiotestsrc is-live=true wave=sine volume=0.1 ! audioconvert ! audioresample ! queue ! opusenc ! rtpopuspay
        ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! peer.
"""


def request(method, url, body=None, **headers):
    """Returns status, headers and body of whatever answers."""
    data = body.encode() if body is not None else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, named, method=method)) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


class Session:
    """One webrtcbin and the HTTP resource that is its other end."""

    def __init__(self, url, pipeline):
        self.url = url
        self.resource = None
        self.etag = None
        self.participant = None
        self.candidates = []
        self.pipeline = pipeline
        self.peer = pipeline.get_by_name("peer")
        self.peer.connect("on-negotiation-needed", self.on_negotiation_needed)
        self.peer.connect("on-ice-candidate", self.on_candidate)

    def start(self):
        self.pipeline.set_state(Gst.State.PLAYING)

    def on_negotiation_needed(self, peer):
        if self.resource is None:
            peer.emit("create-offer", None, Gst.Promise.new_with_change_func(self.on_offer, None))

    def on_offer(self, promise, _):
        reply = promise.get_reply()  # Owns the offer.
        offer = reply.get_value("offer")
        text = offer.sdp.as_text()
        self.peer.emit("set-local-description", offer, Gst.Promise.new())
        GLib.idle_add(self.post, text)

    def post(self, offer):
        status, headers, body = request("POST", self.url, offer, Content_Type="application/sdp")
        if status != 201:
            sys.exit(f"POST {self.url}: {status} {body}\n{offer}")
        self.resource = urllib.parse.urljoin(self.url, headers["Location"])
        self.etag, self.participant = headers["ETag"], headers["Switchyard-Participant"]
        _, message = GstSdp.SDPMessage.new_from_text(body)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.peer.emit("set-remote-description", answer, Gst.Promise.new_with_change_func(self.on_answer_set, None))
        self.trickle()
        return False

    def on_answer_set(self, promise, _):
        reply = promise.get_reply()
        if reply and reply.has_field("error"):
            raise RuntimeError(f"the answer was not taken: {reply.to_string()}")

    def on_candidate(self, _, line, candidate):
        self.candidates.append(candidate)
        GLib.idle_add(self.trickle)

    def trickle(self):
        if self.resource and self.candidates:
            fragment = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n" + "".join(f"a={candidate}\r\n" for candidate in self.candidates)
            self.candidates = []
            kind = "application/trickle-ice-sdpfrag"
            status, _, body = request("PATCH", self.resource, fragment, Content_Type=kind, If_Match=self.etag)
            if status != 204:
                sys.exit(f"PATCH: {status} {body}\n{fragment}")
        return False

    def end(self):
        self.pipeline.set_state(Gst.State.NULL)
        if self.resource:
            status, _, body = request("DELETE", self.resource)
            if status != 200:
                sys.exit(f"DELETE: {status} {body}")


class Publisher(Session):
    def __init__(self, url):
        super().__init__(url, Gst.parse_launch(PUBLISH))
        index = 0
        while transceiver := self.peer.emit("get-transceiver", index):
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
            index += 1


class Player(Session):
    """Decodes whatever comes and counts it."""

    def __init__(self, url):
        pipeline = Gst.Pipeline()
        pipeline.add(Gst.parse_launch("webrtcbin name=peer bundle-policy=max-bundle"))
        super().__init__(url, pipeline)
        self.frames = self.buffers = 0
        self.peer.connect("pad-added", self.on_pad)
        for media, name, clock, number in [
            ("video", "VP8", 90000, "96"),
            ("audio", "OPUS", 48000, "97,encoding-params=(string)2"),
        ]:
            caps = Gst.Caps.from_string(f"application/x-rtp,media={media},encoding-name={name},clock-rate={clock},payload={number}")
            self.peer.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, caps)

    def on_pad(self, _, pad):
        if pad.direction == Gst.PadDirection.SRC:
            decoder = Gst.ElementFactory.make("decodebin")
            decoder.connect("pad-added", self.on_decoded)
            self.pipeline.add(decoder)
            decoder.sync_state_with_parent()
            pad.link(decoder.get_static_pad("sink"))

    def on_decoded(self, _, pad):
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("signal-handoffs", True)
        sink.set_property("sync", False)
        video = pad.get_current_caps().get_structure(0).get_name().startswith("video/")
        sink.connect("handoff", self.on_frame if video else self.on_sound)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def on_frame(self, *_):
        self.frames += 1

    def on_sound(self, *_):
        self.buffers += 1

    def done(self):
        return self.frames >= FRAMES and self.buffers >= BUFFERS


def wait_for(condition, what):
    """Lets GLib work until the condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"not within {SECONDS} s: {what()}")
        GLib.MainContext.default().iteration(False)
        time.sleep(0.002)


def round_trip(base, room):
    publisher = Publisher(f"{base}/v1/whip/{room}?name=GStreamer")
    publisher.start()
    wait_for(lambda: publisher.resource, lambda: "no answer to the publisher")
    players = {path: Player(f"{base}/v1/whep/{path}") for path in (f"{room}/{publisher.participant}", room)}
    for player in players.values():
        player.start()

    def counted():
        return ", ".join(f"{path}: {player.frames} frames, {player.buffers} buffers of sound" for path, player in players.items())

    wait_for(lambda: all(player.done() for player in players.values()), counted)
    print(counted(), flush=True)
    for session in [*players.values(), publisher]:
        session.end()
        if request("GET", session.resource)[0] != 404:
            sys.exit("a session outlives its DELETE")


def fail(*error):
    """A callback's exception would only be printed."""
    sys.__excepthook__(*error)
    os._exit(1)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("server", nargs="?", help="http://HOST:PORT")
    arguments.add_argument("room", nargs="?", default="interop")
    arguments.add_argument("--again", action="store_true", help="do it twice")
    arguments.add_argument("--check", action="store_true", help="only say whether everything that this needs is installed")
    options = arguments.parse_args()
    sys.excepthook = fail
    Gst.init(None)
    missing = [name for name in ELEMENTS if not Gst.ElementFactory.find(name)]
    if missing:
        sys.exit(f"GStreamer lacks {', '.join(missing)}\nOn Debian, as root: apt-get install --no-install-recommends {PACKAGES}")
    if options.check:
        return
    if not options.server:
        arguments.error("which server?")
    for _ in range(1 + options.again):
        round_trip(options.server.rstrip("/"), options.room)


if __name__ == "__main__":
    main()
