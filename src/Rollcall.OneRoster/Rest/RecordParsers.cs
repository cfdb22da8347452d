using System.Text;
using System.Text.Json;
using Rollcall.OneRoster.Model;

namespace Rollcall.OneRoster.Rest;

/// <summary>Reads one record. The reader stands on its <c>{</c> and is left on its <c>}</c>.</summary>
internal delegate T RecordParser<out T>(ref Utf8JsonReader reader, ReadContext context);

/// <summary>From JSON objects to the roster's normal form. Fields that are not named here, passwords and credentials among them,
/// are passed over as bytes and never become strings.</summary>
internal static class RecordParsers
{
    public static Org Org(ref Utf8JsonReader reader, ReadContext context)
    {
        var common = default(Common);
        string? name = null,
            type = null,
            identifier = null,
            parent = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = context.Bytes(ref reader);
            reader.Read();
            if (common.Take(field, ref reader, context))
            {
                continue;
            }

            switch (field.Length)
            {
                case 4 when field.SequenceEqual("name"u8):
                    name = context.Text(ref reader);
                    break;
                case 4 when field.SequenceEqual("type"u8):
                    type = context.Pooled(ref reader);
                    break;
                case 10 when field.SequenceEqual("identifier"u8):
                    identifier = context.Text(ref reader);
                    break;
                case 6 when field.SequenceEqual("parent"u8):
                    parent = context.Ref(ref reader);
                    break;
                default:
                    ReadContext.Skip(ref reader);
                    break;
            }
        }

        return new Org
        {
            SourcedId = common.SourcedId,
            Status = common.Status,
            LastModified = common.LastModified,
            Name = name,
            Type = type,
            Identifier = identifier,
            Parent = parent,
        };
    }

    public static AcademicSession AcademicSession(ref Utf8JsonReader reader, ReadContext context)
    {
        var common = default(Common);
        string? title = null,
            type = null;
        DateOnly? start = null,
            end = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = context.Bytes(ref reader);
            reader.Read();
            if (common.Take(field, ref reader, context))
            {
                continue;
            }

            switch (field.Length)
            {
                case 5 when field.SequenceEqual("title"u8):
                    title = context.Text(ref reader);
                    break;
                case 4 when field.SequenceEqual("type"u8):
                    type = context.Pooled(ref reader);
                    break;
                case 9 when field.SequenceEqual("startDate"u8):
                    start = context.Day(ref reader, out _);
                    break;
                case 7 when field.SequenceEqual("endDate"u8):
                    end = context.Day(ref reader, out _);
                    break;
                default:
                    ReadContext.Skip(ref reader);
                    break;
            }
        }

        return new AcademicSession
        {
            SourcedId = common.SourcedId,
            Status = common.Status,
            LastModified = common.LastModified,
            Title = title,
            Type = type,
            Start = start,
            End = end,
        };
    }

    public static Class Class(ref Utf8JsonReader reader, ReadContext context)
    {
        var common = default(Common);
        string? title = null,
            code = null,
            type = null,
            location = null,
            school = null;
        IReadOnlyList<string>? terms = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = context.Bytes(ref reader);
            reader.Read();
            if (common.Take(field, ref reader, context))
            {
                continue;
            }

            switch (field.Length)
            {
                case 5 when field.SequenceEqual("title"u8):
                    title = context.Text(ref reader);
                    break;
                case 9 when field.SequenceEqual("classCode"u8):
                    code = context.Text(ref reader);
                    break;
                case 9 when field.SequenceEqual("classType"u8):
                    type = context.Pooled(ref reader);
                    break;
                case 8 when field.SequenceEqual("location"u8):
                    location = context.Pooled(ref reader);
                    break;
                case 6 when field.SequenceEqual("school"u8):
                    school = context.Ref(ref reader);
                    break;
                case 5 when field.SequenceEqual("terms"u8):
                    terms = context.Refs(ref reader);
                    break;
                default:
                    ReadContext.Skip(ref reader);
                    break;
            }
        }

        return new Class
        {
            SourcedId = common.SourcedId,
            Status = common.Status,
            LastModified = common.LastModified,
            Title = title,
            ClassCode = code,
            ClassType = type,
            Location = location,
            School = school,
            Terms = terms,
        };
    }

    public static Enrollment Enrollment(ref Utf8JsonReader reader, ReadContext context)
    {
        var common = default(Common);
        string? user = null,
            inClass = null,
            role = null;
        var primary = false;
        DateOnly? begin = null,
            end = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = context.Bytes(ref reader);
            reader.Read();
            if (common.Take(field, ref reader, context))
            {
                continue;
            }

            switch (field.Length)
            {
                case 4 when field.SequenceEqual("user"u8):
                    user = context.Ref(ref reader);
                    break;
                case 5 when field.SequenceEqual("class"u8):
                    inClass = context.Ref(ref reader);
                    break;
                case 4 when field.SequenceEqual("role"u8):
                    role = context.Pooled(ref reader);
                    break;
                case 7 when field.SequenceEqual("primary"u8):
                    primary = context.Boolean(ref reader) ?? false;
                    break;
                case 9 when field.SequenceEqual("beginDate"u8):
                    begin = context.Day(ref reader, out _);
                    break;
                case 7 when field.SequenceEqual("endDate"u8):
                    end = context.Day(ref reader, out _);
                    break;
                default:
                    ReadContext.Skip(ref reader);
                    break;
            }
        }

        return new Enrollment
        {
            SourcedId = common.SourcedId,
            Status = common.Status,
            LastModified = common.LastModified,
            User = user,
            Class = inClass,
            Role = role,
            Primary = primary,
            Begin = begin,
            End = end,
        };
    }

    public static Demographics Demographics(ref Utf8JsonReader reader, ReadContext context)
    {
        var common = default(Common);
        DateOnly? birth = null;
        var birthBlank = false;
        string? sex = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = context.Bytes(ref reader);
            reader.Read();
            if (common.Take(field, ref reader, context))
            {
                continue;
            }

            switch (field.Length)
            {
                case 9 when field.SequenceEqual("birthDate"u8):
                    birth = context.Day(ref reader, out birthBlank);
                    break;
                case 9 when field.SequenceEqual("birthdate"u8):
                    context.Count(Leniency.FieldAlias);
                    birth = context.Day(ref reader, out birthBlank);
                    break;
                case 3 when field.SequenceEqual("sex"u8):
                    sex = Sex(ref reader, context);
                    break;
                default:
                    ReadContext.Skip(ref reader);
                    break;
            }
        }

        return new Demographics
        {
            SourcedId = common.SourcedId,
            Status = common.Status,
            LastModified = common.LastModified,
            BirthDate = birth,
            BirthDateBlank = birthBlank,
            Sex = sex,
        };
    }

    public static User User(ref Utf8JsonReader reader, ReadContext context)
    {
        var common = default(Common);
        string? given = null,
            family = null,
            middle = null,
            preferred = null,
            username = null,
            identifier = null,
            email = null,
            phone = null;
        string? role = null,
            primaryOrg = null,
            metadataPrimaryOrg = null;
        IReadOnlyList<UserId>? userIds = null;
        IReadOnlyList<string>? grades = null,
            orgs = null,
            agents = null;
        UserRole[]? roles = null;
        var (orgsPartial, rolesPartial) = (false, false);
        bool? enabled = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = context.Bytes(ref reader);
            reader.Read();
            if (common.Take(field, ref reader, context))
            {
                continue;
            }

            switch (field.Length)
            {
                case 8 when field.SequenceEqual("username"u8):
                    username = context.Text(ref reader);
                    break;
                case 7 when field.SequenceEqual("userIds"u8):
                    userIds = UserIds(ref reader, context);
                    break;
                case 11 when field.SequenceEqual("enabledUser"u8):
                    enabled = context.Boolean(ref reader);
                    break;
                case 9 when field.SequenceEqual("givenName"u8):
                    given = context.Text(ref reader);
                    break;
                case 10 when field.SequenceEqual("familyName"u8):
                    family = context.Text(ref reader);
                    break;
                case 10 when field.SequenceEqual("middleName"u8):
                    middle = context.Text(ref reader);
                    break;
                case 10 when field.SequenceEqual("identifier"u8):
                    identifier = context.Text(ref reader);
                    break;
                case 10 when field.SequenceEqual("primaryOrg"u8):
                    primaryOrg = context.Ref(ref reader);
                    break;
                case 18 when field.SequenceEqual("preferredFirstName"u8):
                    preferred = context.Text(ref reader);
                    break;
                case 18 when field.SequenceEqual("preferredGivenName"u8):
                    context.Count(Leniency.FieldAlias);
                    preferred ??= context.Text(ref reader);
                    ReadContext.Skip(ref reader);
                    break;
                case 5 when field.SequenceEqual("email"u8):
                    email = context.Text(ref reader);
                    break;
                case 5 when field.SequenceEqual("phone"u8):
                    phone = context.Text(ref reader);
                    break;
                case 4 when field.SequenceEqual("role"u8):
                    role = Role(ref reader, context);
                    break;
                case 5 when field.SequenceEqual("roles"u8):
                    roles = Roles(ref reader, context, out rolesPartial);
                    break;
                case 4 when field.SequenceEqual("orgs"u8):
                    orgs = context.Refs(ref reader, out orgsPartial);
                    break;
                case 6 when field.SequenceEqual("agents"u8):
                    agents = context.Refs(ref reader);
                    break;
                case 14 when field.SequenceEqual("agentSourceIds"u8) && agents is null:
                    context.Count(Leniency.FieldAlias);
                    agents = context.Refs(ref reader);
                    break;
                case 6 when field.SequenceEqual("grades"u8):
                    grades = context.Texts(ref reader);
                    break;
                case 5 when field.SequenceEqual("grade"u8) && grades is null:
                    context.Count(Leniency.FieldAlias);
                    grades = context.Texts(ref reader);
                    break;
                case 8 when field.SequenceEqual("metadata"u8):
                    metadataPrimaryOrg = MetadataPrimaryOrg(ref reader, context) ?? metadataPrimaryOrg;
                    break;
                case 19 when Ascii.EqualsIgnoreCase(field, "metadata.primaryOrg"u8):
                    metadataPrimaryOrg = OrgKey(ref reader, context);
                    break;
                default:
                    ReadContext.Skip(ref reader);
                    break;
            }
        }

        // A record that carries both forms is 1.2 if its list says anything; an empty list beside a role is a 1.1 record with an extra key.
        var hasRoleList = roles is not null && (roles.Length > 0 || role is null);
        return new User
        {
            SourcedId = common.SourcedId,
            Status = common.Status,
            LastModified = common.LastModified,
            Enabled = enabled ?? true,
            GivenName = given,
            FamilyName = family,
            MiddleName = middle,
            PreferredFirstName = preferred,
            Username = username,
            Identifier = identifier,
            Email = email,
            Phone = phone,
            UserIds = userIds,
            Grades = grades,
            Roles = hasRoleList ? At(roles!, orgs) : RolesOf(role, orgs),
            HasRoleList = hasRoleList,
            OrgsPartial = rolesPartial || orgsPartial,
            PrimaryOrg = primaryOrg,
            MetadataPrimaryOrg = metadataPrimaryOrg,
            Agents = agents,
        };
    }

    /// <summary>A list of roles of which none names a school, beside the schools of 1.1: each is at each of them, in their order.</summary>
    private static UserRole[] At(UserRole[] roles, IReadOnlyList<string>? orgs)
    {
        if (orgs is null or { Count: 0 } || roles.Length == 0 || Array.Exists(roles, r => r.Org is not null))
        {
            return roles;
        }

        var placed = new UserRole[(int)Math.Min(MostRoles, (long)roles.Length * orgs.Count)];
        for (var i = 0; i < placed.Length; i++)
        {
            var (role, org) = (roles[i / orgs.Count], i % orgs.Count);
            placed[i] = role with { Org = orgs[org], Primary = role.Primary && org == 0 };
        }

        return placed;
    }

    private static UserRole[] RolesOf(string? role, IReadOnlyList<string>? orgs)
    {
        if (role is null)
        {
            return [];
        }

        if (orgs is null or { Count: 0 })
        {
            return [new UserRole(role, null, true, null, null)];
        }

        var roles = new UserRole[orgs.Count];
        for (var i = 0; i < roles.Length; i++)
        {
            roles[i] = new UserRole(role, orgs[i], i == 0, null, null);
        }

        return roles;
    }

    /// <summary>1.1's role; the first one when a list came.</summary>
    private static string? Role(ref Utf8JsonReader reader, ReadContext context)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            return RoleName(context.Pooled(ref reader));
        }

        context.Count(Leniency.SingleAsList);
        string? first = null;
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            first ??= RoleName(context.Pooled(ref reader));
            ReadContext.Skip(ref reader);
        }

        return first;
    }

    private static string? RoleName(string? text)
    {
        var trimmed = text is null ? null : Blank.Trim(text);
        return string.IsNullOrEmpty(trimmed) ? null : trimmed;
    }

    private static UserRole[]? Roles(ref Utf8JsonReader reader, ReadContext context, out bool partial)
    {
        partial = false;
        switch (reader.TokenType)
        {
            case JsonTokenType.Null:
                return null;
            case JsonTokenType.StartArray:
                UserRole[] roles = [];
                while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                {
                    if (RoleEntry(ref reader, context, ref partial) is { } entry)
                    {
                        // Nearly everybody has one; growing by one is cheaper than a list for all.
                        Array.Resize(ref roles, roles.Length + 1);
                        roles[^1] = entry;
                        if (roles.Length == MostRoles)
                        {
                            partial = true;
                            SkipRest(ref reader, context);
                            break;
                        }
                    }
                    else
                    {
                        partial = true;
                    }
                }

                return roles;
            case JsonTokenType.StartObject:
                context.Count(Leniency.ListAsObject);
                if (RoleEntry(ref reader, context, ref partial) is { } one)
                {
                    return [one];
                }

                partial = true;
                return [];
            default:
                context.Count(Leniency.ListAsText);
                return RoleEntry(ref reader, context, ref partial) is { } bare ? [bare] : [];
        }
    }

    /// <summary>More roles than any person has; a hostile list must not make growing by one quadratic.</summary>
    private const int MostRoles = 1000;

    private static void SkipRest(ref Utf8JsonReader reader, ReadContext context)
    {
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            ReadContext.Skip(ref reader);
            context.Count(Leniency.UnreadableEntry);
        }
    }

    private static UserRole? RoleEntry(ref Utf8JsonReader reader, ReadContext context, ref bool orgUnread)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            var bare = reader.TokenType == JsonTokenType.String ? RoleName(context.Pooled(ref reader)) : null;
            ReadContext.Skip(ref reader);
            context.Count(Leniency.UnreadableEntry);
            return bare is null ? null : new UserRole(bare, null, false, null, null);
        }

        string? role = null,
            type = null,
            org = null;
        DateOnly? begin = null,
            end = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = context.Bytes(ref reader);
            reader.Read();
            switch (field.Length)
            {
                case 4 when field.SequenceEqual("role"u8):
                    role = RoleName(context.Pooled(ref reader));
                    break;
                case 8 when field.SequenceEqual("roleType"u8):
                    type = context.Pooled(ref reader);
                    break;
                case 3 when field.SequenceEqual("org"u8):
                    var at = reader;
                    org = context.Ref(ref reader);
                    orgUnread |= org is null && !ReadContext.IsBlank(at);
                    break;
                case 9 when field.SequenceEqual("beginDate"u8):
                    begin = context.Day(ref reader, out _);
                    break;
                case 7 when field.SequenceEqual("endDate"u8):
                    end = context.Day(ref reader, out _);
                    break;
                default:
                    ReadContext.Skip(ref reader);
                    break;
            }
        }

        if (role is null)
        {
            context.Count(Leniency.UnreadableEntry);
            return null;
        }

        return new UserRole(
            role,
            org,
            type is not null && Blank.Trim(type.AsSpan()).Equals("primary", StringComparison.OrdinalIgnoreCase),
            begin,
            end
        );
    }

    private static IReadOnlyList<UserId>? UserIds(ref Utf8JsonReader reader, ReadContext context)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.Null:
                return null;
            case JsonTokenType.StartArray:
                UserId? only = null;
                List<UserId>? more = null;
                while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                {
                    if (UserIdEntry(ref reader, context) is not { } id)
                    {
                        continue;
                    }

                    if (only is null)
                    {
                        only = id;
                    }
                    else
                    {
                        (more ??= [only.Value]).Add(id);
                    }
                }

                return more ?? (IReadOnlyList<UserId>)(only is null ? [] : [only.Value]);
            case JsonTokenType.StartObject:
                context.Count(Leniency.ListAsObject);
                return UserIdEntry(ref reader, context) is { } one ? [one] : [];
            case JsonTokenType.String:
                var text = context.Text(ref reader) ?? "";
                if (Blank.Is(text))
                {
                    return [];
                }

                context.Count(Leniency.ListAsText);
                return text.Split(',').Select(t => TypedId(t, context)).OfType<UserId>().ToArray();
            default:
                ReadContext.Skip(ref reader);
                context.Count(Leniency.UnreadableText);
                return null;
        }
    }

    private static UserId? UserIdEntry(ref Utf8JsonReader reader, ReadContext context)
    {
        if (reader.TokenType == JsonTokenType.String)
        {
            context.Count(Leniency.ListAsText);
            return TypedId(context.Text(ref reader) ?? "", context);
        }

        if (reader.TokenType != JsonTokenType.StartObject)
        {
            if (reader.TokenType != JsonTokenType.Null)
            {
                context.Count(Leniency.UnreadableEntry);
            }

            ReadContext.Skip(ref reader);
            return null;
        }

        string? type = null,
            identifier = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = context.Bytes(ref reader);
            reader.Read();
            if (field.SequenceEqual("type"u8))
            {
                // What a mapping names has no blanks around it.
                type = context.Pooled(ref reader) is { } word ? Blank.Trim(word) : null;
            }
            else if (field.SequenceEqual("identifier"u8))
            {
                identifier = context.Text(ref reader);
            }
            else
            {
                ReadContext.Skip(ref reader);
            }
        }

        return type is null && identifier is null ? null : new UserId(type ?? "", identifier ?? "");
    }

    /// <summary><c>{Type:Id}</c>, the form of the CSV files, which some servers print in JSON.</summary>
    private static UserId? TypedId(string text, ReadContext context)
    {
        var inner = Blank.Trim(text).TrimStart('{').TrimEnd('}');
        var colon = inner.IndexOf(':', StringComparison.Ordinal);
        if (colon <= 0)
        {
            context.Count(Leniency.UnreadableEntry);
            return null;
        }

        return new UserId(Blank.Trim(inner[..colon]), Blank.Trim(inner[(colon + 1)..]));
    }

    private static string? MetadataPrimaryOrg(ref Utf8JsonReader reader, ReadContext context)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            ReadContext.Skip(ref reader);
            return null;
        }

        string? org = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var wanted = Ascii.EqualsIgnoreCase(context.Bytes(ref reader), "primaryOrg"u8);
            reader.Read();
            if (wanted)
            {
                org = OrgKey(ref reader, context);
            }
            else
            {
                ReadContext.Skip(ref reader);
            }
        }

        return org;
    }

    /// <summary>In metadata a bare key is the rule, so it is no leniency there.</summary>
    private static string? OrgKey(ref Utf8JsonReader reader, ReadContext context) =>
        reader.TokenType is JsonTokenType.String or JsonTokenType.Number
            ? context.Key(context.Pooled(ref reader), countBlank: false)
            : context.Ref(ref reader);

    private static string? Sex(ref Utf8JsonReader reader, ReadContext context)
    {
        if (reader.TokenType == JsonTokenType.Null)
        {
            return null;
        }

        if (reader.TokenType == JsonTokenType.String)
        {
            var text = context.Pooled(ref reader) ?? "";
            switch (text)
            {
                case "" or "male" or "female" or "other" or "unspecified":
                    return text;
            }

            var known = Blank.Is(text) ? "" : Words.Sex(text);
            if (!text.StartsWith(Words.Extension, StringComparison.Ordinal))
            {
                context.Count(known is null ? Leniency.UnreadableSex : Leniency.SexSpelling);
            }

            return known;
        }

        ReadContext.Skip(ref reader);
        context.Count(Leniency.UnreadableSex);
        return null;
    }

    /// <summary>The three fields that every record has.</summary>
    private struct Common
    {
        public string? SourcedId;
        public RecordStatus Status;
        public DateTimeOffset? LastModified;

        public bool Take(scoped ReadOnlySpan<byte> field, ref Utf8JsonReader reader, ReadContext context)
        {
            switch (field.Length)
            {
                case 9 when field.SequenceEqual("sourcedId"u8):
                    SourcedId = context.SourcedId(ref reader);
                    return true;
                case 6 when field.SequenceEqual("status"u8):
                    Status = ReadStatus(ref reader, context);
                    return true;
                case 16 when field.SequenceEqual("dateLastModified"u8):
                    LastModified = context.Time(ref reader);
                    return true;
                default:
                    return false;
            }
        }

        private static RecordStatus ReadStatus(ref Utf8JsonReader reader, ReadContext context)
        {
            var text = context.Pooled(ref reader);
            switch (text)
            {
                case null or "" or "active":
                    return RecordStatus.Active;
                case "tobedeleted":
                    return RecordStatus.ToBeDeleted;
            }

            RecordStatus? status = Blank.Is(text) ? RecordStatus.Active : Words.Status(text);
            context.Count(status is null ? Leniency.UnknownStatus : Leniency.StatusSpelling);
            return status ?? RecordStatus.Active;
        }
    }
}
