using System.Text.Json.Nodes;
using Rollcall.Sandbox;

namespace Rollcall.Tests.Infrastructure;

/// <summary>Puts people of a test's own making into the sandbox's roster.</summary>
public static class RosterPeople
{
    /// <summary>Leaves no patron roles in the roster but those that the test adds.</summary>
    public static void OnlyMine(this SandboxServer sandbox) =>
        sandbox.Overrides.Remove("users", sandbox.District.People.Select(p => p.SourcedId).ToArray());

    /// <summary>Adds or replaces a person.</summary>
    public static void Person(
        this SandboxServer sandbox,
        string id,
        string given,
        string family,
        string? number = null,
        string? email = null,
        string? barcode = null,
        string role = "student",
        string status = "active",
        string[]? orgs = null,
        string[]? agents = null,
        string phone = "",
        string modified = "2026-01-01T00:00:00.000Z"
    )
    {
        orgs ??= [sandbox.District.Schools.First().SourcedId];
        sandbox.Overrides.Put(
            "users",
            new JsonObject
            {
                ["sourcedId"] = id,
                ["status"] = status,
                ["dateLastModified"] = modified,
                ["username"] = id + ".login",
                ["userIds"] = new JsonArray([
                    .. barcode is null ? Array.Empty<JsonNode>() : [new JsonObject { ["type"] = "Card", ["identifier"] = barcode }],
                ]),
                ["enabledUser"] = "true",
                ["givenName"] = given,
                ["familyName"] = family,
                ["middleName"] = "",
                ["role"] = role,
                ["identifier"] = number ?? "",
                ["email"] = email ?? "",
                ["sms"] = "",
                ["phone"] = phone,
                ["agents"] = Refs(agents ?? [], "user"),
                ["orgs"] = Refs(orgs, "org"),
                ["grades"] = new JsonArray("05"),
                ["password"] = "",
            }
        );
    }

    /// <summary>Adds or replaces what a service knows of somebody's birth; nothing where there is no day.</summary>
    public static void Born(this SandboxServer sandbox, string id, string? day)
    {
        if (day is not null)
        {
            sandbox.Overrides.Put(
                "demographics",
                new JsonObject
                {
                    ["sourcedId"] = id,
                    ["status"] = "active",
                    ["dateLastModified"] = "2026-01-01T00:00:00.000Z",
                    ["birthDate"] = day,
                    ["sex"] = "female",
                }
            );
        }
    }

    /// <summary>Adds or replaces a homeroom of the first school.</summary>
    public static void Homeroom(this SandboxServer sandbox, string id, string title, string modified = "2026-01-01T00:00:00.000Z") =>
        sandbox.Overrides.Put(
            "classes",
            new JsonObject
            {
                ["sourcedId"] = id,
                ["status"] = "active",
                ["dateLastModified"] = modified,
                ["title"] = title,
                ["classType"] = "homeroom",
                ["school"] = new JsonObject { ["sourcedId"] = sandbox.District.Schools.First().SourcedId, ["type"] = "org" },
                ["terms"] = new JsonArray(),
            }
        );

    /// <summary>Adds or replaces an enrollment.</summary>
    public static void Enroll(
        this SandboxServer sandbox,
        string id,
        string user,
        string homeroom,
        string role = "student",
        string status = "active",
        string modified = "2026-01-01T00:00:00.000Z"
    ) =>
        sandbox.Overrides.Put(
            "enrollments",
            new JsonObject
            {
                ["sourcedId"] = id,
                ["status"] = status,
                ["dateLastModified"] = modified,
                ["role"] = role,
                ["user"] = new JsonObject { ["sourcedId"] = user, ["type"] = "user" },
                ["class"] = new JsonObject { ["sourcedId"] = homeroom, ["type"] = "class" },
            }
        );

    private static JsonArray Refs(string[] ids, string type) =>
        new([
            .. ids.Select(id =>
                (JsonNode)
                    new JsonObject
                    {
                        ["href"] = $"https://elsewhere.example/{id}",
                        ["sourcedId"] = id,
                        ["type"] = type,
                    }
            ),
        ]);
}
