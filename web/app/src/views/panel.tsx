import type { ComponentChildren, Ref } from "preact";

import { CloseIcon } from "../icons.js";
import type { Meeting } from "../meeting.js";

/** What stands beside the meeting: a head with a way to close it, and whatever it is about. */
export function SidePanel(props: {
  meeting: Meeting;
  title: string;
  /** Beside the class that all have. */
  kind?: string;
  closeButton?: Ref<HTMLButtonElement>;
  children: ComponentChildren;
}) {
  const { meeting, title, kind, closeButton = null, children } = props;
  const close = () => {
    meeting.panel = null;
  };
  return (
    <aside
      class={kind ? `chat ${kind}` : "chat"}
      aria-label={title}
      onKeyDown={(event) => {
        if (event.key === "Escape") close();
      }}
    >
      <header class="chat-header">
        <h2>{title}</h2>
        <button ref={closeButton} type="button" class="icon-button" aria-label="Close" onClick={close}>
          <CloseIcon />
        </button>
      </header>
      {children}
    </aside>
  );
}
