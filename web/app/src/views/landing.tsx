import { useEffect, useMemo, useState } from "preact/hooks";

import { ArrowIcon, Logo } from "../icons.js";
import { randomRoom, roomId } from "../text.js";

/** The front page: choose a room. */
export function LandingView({ go, lost }: { go(to: string): void; lost: boolean }) {
  const suggestion = useMemo(() => randomRoom(), []);
  const [typed, setTyped] = useState("");
  useEffect(() => {
    document.title = "Switchyard";
  }, []);
  const id = roomId(typed) || suggestion;
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    go(`/r/${id}`);
  };
  return (
    <main class="landing">
      <TrackPlan />
      <div class="landing-body">
        <p class="brand">
          <Logo /> Switchyard
        </p>
        <h1>Meet on your own rails.</h1>
        <p class="lead">Pick a room and send its link around. No account, nothing to install.</p>
        {lost && <p class="callout">There is no such page. Pick a room instead.</p>}
        <form class="landing-form" onSubmit={submit}>
          <label class="field">
            <span class="field-label">Room name</span>
            <input
              class="input"
              value={typed}
              placeholder={suggestion}
              maxLength={64}
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              onInput={(event) => setTyped(event.currentTarget.value)}
            />
          </label>
          <button class="button button-primary button-large" type="submit">
            Open room <ArrowIcon />
          </button>
        </form>
        <p class="hint">
          Its address: <span class="address">{`${location.host}/r/${id}`}</span>
        </p>
      </div>
    </main>
  );
}

/** A yard seen from above, with a few wagons on it. */
function TrackPlan() {
  return (
    <svg class="track-plan" viewBox="0 -70 1200 800" preserveAspectRatio="xMaxYMax slice" aria-hidden="true">
      <g class="track-plan-rails">
        <path d="M-40 640H420C620 640 640 460 840 460H1240" />
        <path d="M-40 640H1240" />
        <path d="M420 640C620 640 640 760 840 760H1240" />
        <path d="M630 550C740 460 740 300 920 300H1240" />
        <path d="M749 391C836 268 830 160 1010 160H1240" />
      </g>
      <g class="track-plan-wagons">
        <rect x="900" y="447" width="92" height="26" rx="9" />
        <rect x="1000" y="447" width="92" height="26" rx="9" />
        <rect x="1080" y="287" width="92" height="26" rx="9" />
        <rect x="700" y="627" width="92" height="26" rx="9" />
        <rect x="1060" y="147" width="92" height="26" rx="9" />
      </g>
      <g class="track-plan-signals">
        <circle cx="420" cy="606" r="9" />
        <circle cx="672" cy="560" r="9" />
        <circle cx="738" cy="346" r="9" />
      </g>
    </svg>
  );
}
