// What the site's page does to play: for each arrival a ticket from the site, carried over whichever transport wins.
import { connect } from 'muster-client';

export function play(server) {
  return connect(server, {
    join: 'quick:arena',
    ticket: async () => {
      const [, token] = document.cookie.match(/csrftoken=([^;]+)/);
      // Whoever is logged out would be sent to the login page, which is no ticket.
      const how = { method: 'POST', headers: { 'X-CSRFToken': token }, redirect: 'error' };
      return (await fetch('/muster/ticket', how)).text();
    },
  });
}
