// The views of the page, by their names in the address.
export const views = { chat: "Chat", programs: "Programs", server: "Server" };
export type View = keyof typeof views;

// The view that the address names; without one it is the chat.
export function viewOfAddress(): View {
  const name = location.hash.slice(1);
  return name in views ? (name as View) : "chat";
}
