// Prints a ticket for muster: node mint.mjs PRIVATE_KEY.pem PLAYER
// Needs jose: npm install jose

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { importPKCS8, SignJWT } from "jose";

const [keyFile, player] = process.argv.slice(2);
const key = await importPKCS8(await readFile(keyFile, "utf8"), "EdDSA");

const ticket = await new SignJWT({ name: player })
  .setProtectedHeader({ alg: "EdDSA", typ: "muster-ticket+jwt" })
  .setIssuer("muster") // who signs: the server's ticket.issuer
  .setAudience("muster") // who it is for: the server's ticket.audience
  .setSubject(player) // the player's stable id, 1 to 64 bytes
  .setJti(randomUUID()) // new for each ticket: a ticket is good once
  .setIssuedAt()
  .setExpirationTime("60s") // at most 120 s after it was issued
  .sign(key);
console.log(ticket);
