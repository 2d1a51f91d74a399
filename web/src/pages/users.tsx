import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Pencil, Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { meQuery, usersQuery } from "@/api/queries";
import type { Role, User } from "@/api/types";
import { Button, IconButton } from "@/ui/button";
import { Confirm, Dialog } from "@/ui/dialog";
import { Field, Input, Select } from "@/ui/field";
import { Tag } from "@/ui/marks";
import { Page, Section } from "@/ui/page";
import { Loaded } from "@/ui/states";
import { Table } from "@/ui/table";
import { Time } from "@/ui/time";
import { toast } from "@/ui/toast";

const roles: { value: Role; label: string; may: string }[] = [
  { value: "viewer", label: "Viewer", may: "sees everything" },
  { value: "analyst", label: "Analyst", may: "decides on alerts, too" },
  { value: "operator", label: "Operator", may: "runs scans, edits networks and rules, too" },
  { value: "admin", label: "Admin", may: "manages agents and users, too" },
];

export function UsersPage() {
  const users = useQuery(usersQuery);
  const { data: me } = useQuery(meQuery);
  const [editing, setEditing] = useState<User | "new" | null>(null);
  const [deleting, setDeleting] = useState<User | null>(null);
  return (
    <Page
      title="Users"
      actions={
        <Button
          kind="primary"
          icon={<Plus className="size-4" aria-hidden />}
          onClick={() => setEditing("new")}
        >
          Add a user
        </Button>
      }
    >
      <Section title="Users" note={users.data && `${users.data.length} in all`} bare>
        <Loaded query={users} what="The users">
          {(rows) => (
            <Table
              caption="Users"
              rows={rows}
              rowKey={(user) => user.id}
              columns={[
                {
                  id: "email",
                  head: "E-mail",
                  cell: (user) => (
                    <span className="foreign">
                      {user.email} {user.id === me?.id && <Tag>you</Tag>}
                    </span>
                  ),
                },
                {
                  id: "role",
                  head: "Role",
                  cell: (user) => {
                    const role = roles.find((each) => each.value === user.role);
                    return (
                      <>
                        {role?.label ?? user.role}{" "}
                        <span className="text-sm text-ink-3 max-sm:hidden">{role?.may}</span>
                      </>
                    );
                  },
                },
                { id: "made", head: "Added", from: "sm", cell: (user) => <Time at={user.created_at} /> },
                {
                  id: "do",
                  head: <span className="sr-only">Actions</span>,
                  right: true,
                  cell: (user) => (
                    <span className="inline-flex">
                      <IconButton small label={`Edit ${user.email}`} onClick={() => setEditing(user)}>
                        <Pencil className="size-3.5" aria-hidden />
                      </IconButton>
                      {user.id !== me?.id && (
                        <IconButton small label={`Delete ${user.email}`} onClick={() => setDeleting(user)}>
                          <Trash2 className="size-3.5" aria-hidden />
                        </IconButton>
                      )}
                    </span>
                  ),
                },
              ]}
            />
          )}
        </Loaded>
      </Section>
      {editing && (
        <UserForm user={editing === "new" ? undefined : editing} onClose={() => setEditing(null)} />
      )}
      {deleting && <DeleteUser user={deleting} onClose={() => setDeleting(null)} />}
    </Page>
  );
}

function UserForm({ user, onClose }: { user: User | undefined; onClose: () => void }) {
  const queries = useQueryClient();
  const [email, setEmail] = useState(user?.email ?? "");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<Role>(user?.role ?? "viewer");
  const save = useMutation({
    mutationFn: () =>
      user
        ? call(
            client.PUT("/api/users/{user_id}", {
              params: { path: { user_id: user.id } },
              body: { email, role, ...(password && { password }) },
            }),
          )
        : call(client.POST("/api/users", { body: { email, password, role } })),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: usersQuery.queryKey });
      void queries.invalidateQueries({ queryKey: meQuery.queryKey });
      onClose();
    },
  });
  return (
    <Dialog
      title={user ? `Edit ${user.email}` : "Add a user"}
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" form="user" busy={save.isPending}>
            {user ? "Save" : "Add"}
          </Button>
        </>
      }
    >
      <form
        id="user"
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <Field label="E-mail" required error={fieldError(save.error, "email")}>
          <Input
            type="email"
            autoComplete="off"
            value={email}
            onChange={(event) => setEmail(event.target.value)}
          />
        </Field>
        <Field
          label={user ? "New password" : "Password"}
          required={!user}
          hint={
            user
              ? "Empty: it stays as it is. A new one ends all sessions of this user."
              : "At least 12 characters."
          }
          error={fieldError(save.error, "password")}
        >
          <Input
            type="password"
            autoComplete="new-password"
            value={password}
            onChange={(event) => setPassword(event.target.value)}
          />
        </Field>
        <Field label="Role" error={fieldError(save.error, "role")}>
          <Select
            value={role}
            onChange={(event) => setRole(event.target.value as Role)}
            options={roles.map((each) => ({ value: each.value, label: `${each.label}: ${each.may}` }))}
          />
        </Field>
        {save.error && (
          <p role="alert" className="text-critical foreign">
            {errorText(save.error)}
          </p>
        )}
      </form>
    </Dialog>
  );
}

function DeleteUser({ user, onClose }: { user: User; onClose: () => void }) {
  const queries = useQueryClient();
  const remove = useMutation({
    mutationFn: () => call(client.DELETE("/api/users/{user_id}", { params: { path: { user_id: user.id } } })),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: usersQuery.queryKey });
      toast(`${user.email} is deleted.`);
      onClose();
    },
  });
  return (
    <Confirm
      title={`Delete ${user.email}?`}
      action="Delete"
      busy={remove.isPending}
      error={remove.error ? errorText(remove.error) : undefined}
      onConfirm={() => remove.mutate()}
      onClose={onClose}
    >
      <p>Their sessions and keys end at once. Comments and rules that they wrote stay.</p>
    </Confirm>
  );
}
