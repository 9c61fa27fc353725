import type { ComponentChildren, JSX } from "preact";

/** Line icons on a grid of 24, in the colour of the text beside them. Decoration: what they mean is said by that text. */
function Icon({ children }: { children: ComponentChildren }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const MicIcon = () => (
  <Icon>
    <rect x="9" y="3" width="6" height="11" rx="3" />
    <path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3M9 21h6" />
  </Icon>
);

export const MicOffIcon = () => (
  <Icon>
    <path d="M15 9.5V6a3 3 0 0 0-5.8-1.1M9 9v2a3 3 0 0 0 4.6 2.5" />
    <path d="M5.5 11.5a6.5 6.5 0 0 0 10.6 5M18.4 12.7l.1-1.2M12 18v3M9 21h6M4 4l16 16" />
  </Icon>
);

/** Three bars, of which so many are there. */
export const SignalIcon = ({ bars }: { bars: number }) => (
  <Icon>
    {["M5 19v-4", "M12 19v-9", "M19 19V5"].map((bar, at) => (
      <path key={bar} d={bar} stroke-width="3.5" opacity={at < bars ? 1 : 0.3} />
    ))}
  </Icon>
);

export const CameraIcon = () => (
  <Icon>
    <rect x="3" y="6" width="12.5" height="12" rx="3" />
    <path d="m15.5 10.6 4-2.5a1 1 0 0 1 1.5.9v6a1 1 0 0 1-1.5.9l-4-2.5" />
  </Icon>
);

export const CameraOffIcon = () => (
  <Icon>
    <path d="M9.5 6h3a3 3 0 0 1 3 3v3M15 16.7a3 3 0 0 1-2.5 1.3H6a3 3 0 0 1-3-3V9a3 3 0 0 1 2.3-2.9" />
    <path d="m15.5 10.6 4-2.5a1 1 0 0 1 1.5.9v6a1 1 0 0 1-1.5.9M4 4l16 16" />
  </Icon>
);

export const ScreenIcon = () => (
  <Icon>
    <rect x="3" y="4" width="18" height="13" rx="2.5" />
    <path d="M12 13.5v-6M9.3 10 12 7.3l2.7 2.7M8 20.5h8" />
  </Icon>
);

export const ScreenOffIcon = () => (
  <Icon>
    <rect x="3" y="4" width="18" height="13" rx="2.5" />
    <path d="m9.7 8.2 4.6 4.6M14.3 8.2l-4.6 4.6M8 20.5h8" />
  </Icon>
);

export const BackIcon = () => (
  <Icon>
    <path d="m14.5 5.5-6.5 6.5 6.5 6.5" />
  </Icon>
);

export const ForwardIcon = () => (
  <Icon>
    <path d="m9.5 5.5 6.5 6.5-6.5 6.5" />
  </Icon>
);

export const ChatIcon = () => (
  <Icon>
    <path d="M20.5 11.5a7.5 7.5 0 0 1-7.5 7.5H5.6l-1.5 1.5V11A7.5 7.5 0 0 1 11.6 4H13a7.5 7.5 0 0 1 7.5 7.5Z" />
    <path d="M8.7 9.9h7M8.7 13.4h4.4" />
  </Icon>
);

export const LeaveIcon = () => (
  <Icon>
    <path d="M3.2 15.3c-.6-1.2-.4-2.6.6-3.5C6 9.8 8.9 8.7 12 8.7s6 1.1 8.2 3.1c1 .9 1.2 2.3.6 3.5-.3.7-1.1 1-1.8.8l-2.5-.8a1.5 1.5 0 0 1-1-1.4v-1.2a11 11 0 0 0-7 0v1.2c0 .6-.4 1.2-1 1.4l-2.5.8c-.7.2-1.5-.1-1.6-.8Z" />
  </Icon>
);

export const LinkIcon = () => (
  <Icon>
    <path d="M10 14a4 4 0 0 0 5.7 0l3.1-3.1a4 4 0 0 0-5.7-5.7L11.9 6.4" />
    <path d="M14 10a4 4 0 0 0-5.7 0l-3.1 3.1a4 4 0 0 0 5.7 5.7l1.2-1.2" />
  </Icon>
);

export const CheckIcon = () => (
  <Icon>
    <path d="m5 12.5 4.5 4.5L19 7.5" />
  </Icon>
);

export const CloseIcon = () => (
  <Icon>
    <path d="m6 6 12 12M18 6 6 18" />
  </Icon>
);

export const SendIcon = () => (
  <Icon>
    <path d="M4.5 12 3.6 5.2a.8.8 0 0 1 1.2-.8L20 11.3a.8.8 0 0 1 0 1.4L4.8 19.6a.8.8 0 0 1-1.2-.8L4.5 12Zm0 0h7" />
  </Icon>
);

export const PeopleIcon = () => (
  <Icon>
    <circle cx="9" cy="8.5" r="3.5" />
    <path d="M2.8 19.5a6.2 6.2 0 0 1 12.4 0M15.5 5.3a3.5 3.5 0 0 1 0 6.4M17.6 14.3a6.2 6.2 0 0 1 3.6 5.2" />
  </Icon>
);

/** Sliders: how the room is set. */
export const SettingsIcon = () => (
  <Icon>
    <path d="M4 7h8.5M17.5 7H20M4 17h2.5M11.5 17H20" />
    <circle cx="15" cy="7" r="2.5" />
    <circle cx="9" cy="17" r="2.5" />
  </Icon>
);

export const MoreIcon = () => (
  <Icon>
    <path d="M12 5.5v.1M12 12v.1M12 18.5v.1" stroke-width="3.2" />
  </Icon>
);

export const DoorIcon = () => (
  <Icon>
    <path d="M6 20V5.5A1.5 1.5 0 0 1 7.5 4h9A1.5 1.5 0 0 1 18 5.5V20M3.5 20h17M14.5 12v.1" />
  </Icon>
);

export const WarningIcon = () => (
  <Icon>
    <path d="M10.6 4.6 2.9 17.9A1.6 1.6 0 0 0 4.3 20.3h15.4a1.6 1.6 0 0 0 1.4-2.4L13.4 4.6a1.6 1.6 0 0 0-2.8 0ZM12 9.5v4.3M12 17v.1" />
  </Icon>
);

export const OfflineIcon = () => (
  <Icon>
    <path d="M2.8 9.3a13.6 13.6 0 0 1 4-2.6M10.6 5.4a13.6 13.6 0 0 1 10.6 3.9M6 12.9a9 9 0 0 1 3.8-2.2M14.6 10.9a9 9 0 0 1 3.4 2M9.3 16.2a4.3 4.3 0 0 1 5.4 0M12 19.4v.1M4 4l16 16" />
  </Icon>
);

export const SoundIcon = () => (
  <Icon>
    <path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.5H4ZM15.5 9a4.2 4.2 0 0 1 0 6M18 6.3a8 8 0 0 1 0 11.4" />
  </Icon>
);

export const ArrowIcon = () => (
  <Icon>
    <path d="M4.5 12h15M13.5 6l6 6-6 6" />
  </Icon>
);

/** The mark: a track that splits in two. */
export const Logo = () => (
  <svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <rect class="logo-ground" width="32" height="32" rx="9" />
    <g class="logo-track">
      <path d="M7 22h18" />
      <path d="M7 22c8 0 8-12 16-12h2" />
    </g>
    <circle class="logo-signal" cx="25" cy="10" r="2.9" />
    <circle class="logo-end" cx="25" cy="22" r="2.9" />
  </svg>
);
