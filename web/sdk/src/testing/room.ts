import { Room } from "../room.js";
import { FakeSocket } from "./socket.js";

/** A room whose WebSockets are put into `sockets`, the latest last; nothing can be fetched. */
export function roomOver(sockets: FakeSocket[]): Room {
  return new Room({
    openSocket: (_, subprotocol) => {
      const socket = new FakeSocket(subprotocol);
      sockets.push(socket);
      return socket as never;
    },
    fetch: async () => new Response(),
    random: () => 0,
  });
}
