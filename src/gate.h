/*
 * Who may call what.
 */
#ifndef QUOTA_GATE_H
#define QUOTA_GATE_H

extern void quota_gate_require_admin(const char *function);

#endif
