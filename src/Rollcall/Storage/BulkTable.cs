using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Storage;

/// <summary>The types that bulk columns have.</summary>
internal enum BulkType
{
    Text,
    Int,
    Long,
    Bool,
}

/// <summary>One column of a bulk table. Exactly one getter is set, by type; the others stay null.</summary>
internal sealed record BulkColumn<T>(string Name, BulkType Type, bool IsKey)
{
    public Func<T, string?>? Text { get; init; }
    public Func<T, long?>? Number { get; init; }
    public Func<T, bool>? Flag { get; init; }
}

/// <summary>A table as the bulk paths write it. A test holds the columns against the EF model.</summary>
internal sealed class BulkTable<T>(string name, IReadOnlyList<BulkColumn<T>> columns)
{
    public string Name { get; } = name;
    public IReadOnlyList<BulkColumn<T>> Columns { get; } = columns;
    public IReadOnlyList<BulkColumn<T>> Keys { get; } = [.. columns.Where(c => c.IsKey)];
    public IReadOnlyList<BulkColumn<T>> Values { get; } = [.. columns.Where(c => !c.IsKey)];
}

internal static class BulkTables
{
    public static readonly BulkTable<Patron> Patrons = new(
        "patrons",
        [
            Int<Patron>("district_id", p => p.DistrictId, key: true),
            Long<Patron>("id", p => p.Id, key: true),
            Text<Patron>("barcode", p => p.Barcode),
            Text<Patron>("community_id", p => p.CommunityId),
            Text<Patron>("government_id", p => p.GovernmentId),
            Text<Patron>("location", p => p.Location),
            Text<Patron>("second_location", p => p.SecondLocation),
            Text<Patron>("last_name", p => p.LastName),
            Text<Patron>("first_name", p => p.FirstName),
            Text<Patron>("middle_name", p => p.MiddleName),
            Text<Patron>("level", p => p.Level),
            Text<Patron>("phone", p => p.Phone),
            Text<Patron>("email", p => p.Email),
            Int<Patron>("status", p => (int)p.Status),
            Text<Patron>("policy", p => p.Policy),
            Text<Patron>("sex", p => p.Sex),
            Text<Patron>("birthdate", p => PatronFields.Date(p.Birthdate)),
            Text<Patron>("graduation_date", p => PatronFields.Date(p.GraduationDate)),
            Text<Patron>("additional_contact", p => p.AdditionalContact),
            Text<Patron>("other_emails", p => p.OtherEmails),
            Int<Patron>("site_id", p => p.SiteId),
            Text<Patron>("nickname", p => p.Nickname),
            Text<Patron>("guid", p => p.Guid),
            Int<Patron>("group", p => (int)p.Group),
            Text<Patron>("site_access", p => p.SiteAccess),
            Text<Patron>("notes", p => p.Notes),
            Text<Patron>("expiration", p => PatronFields.Date(p.Expiration)),
            Text<Patron>("stamps", p => p.Stamps),
            Bool<Patron>("do_not_transfer", p => p.DoNotTransfer),
            Text<Patron>("kept_fields", p => p.KeptFields),
            Text<Patron>("barcode_key", p => p.BarcodeKey),
            Text<Patron>("email_key", p => p.EmailKey),
            Text<Patron>("name_key", p => p.NameKey),
            Text<Patron>("search_key", p => p.SearchKey),
            Long<Patron>("created_at", p => p.CreatedAt.ToUnixTimeMilliseconds()),
            Long<Patron>("updated_at", p => p.UpdatedAt.ToUnixTimeMilliseconds()),
            Long<Patron>("version", p => p.Version),
        ]
    );

    public static readonly BulkTable<PatronLink> Links = new(
        "patron_links",
        [
            Int<PatronLink>("district_id", l => l.DistrictId, key: true),
            Long<PatronLink>("patron_id", l => l.PatronId, key: true),
            Text<PatronLink>("aliases", l => l.Aliases),
            Int<PatronLink>("role_group", l => (int)l.RoleGroup),
            Text<PatronLink>("username", l => l.Username),
            Text<PatronLink>("guardians", l => l.Guardians),
            Text<PatronLink>("homeroom_class", l => l.HomeroomClass),
            Bool<PatronLink>("login_disabled", l => l.LoginDisabled),
            Bool<PatronLink>("absent", l => l.Absent),
            Int<PatronLink>("status_before", l => (int?)l.StatusBefore),
            Bool<PatronLink>("left_schools", l => l.LeftSchools),
            Long<PatronLink>("sync_hash", l => l.SyncHash),
        ]
    );

    public static readonly BulkTable<Change> Changes = new(
        "changes",
        [
            Int<Change>("district_id", c => c.DistrictId, key: true),
            Long<Change>("operation_id", c => c.OperationId, key: true),
            Long<Change>("number", c => c.Number, key: true),
            Int<Change>("kind", c => (int)c.Kind),
            Int<Change>("outcome", c => (int)c.Outcome),
            Long<Change>("patron_id", c => c.PatronId),
            Text<Change>("roster_id", c => c.RosterId),
            Int<Change>("site_id", c => c.SiteId),
            Int<Change>("role_group", c => (int)c.RoleGroup),
            Int<Change>("matched_by", c => (int)c.MatchedBy),
            Bool<Change>("held", c => c.Held),
            Bool<Change>("chained", c => c.Chained),
            Bool<Change>("barcode_drawn", c => c.BarcodeDrawn),
            Int<Change>("risk", c => (int)c.Risk),
            Text<Change>("candidates", c => c.Candidates),
            Bool<Change>("stale", c => c.Stale),
            Text<Change>("values", c => c.Values),
            Text<Change>("link", c => c.Link),
            Text<Change>("link_before", c => c.LinkBefore),
            Text<Change>("reason", c => c.Reason),
            Text<Change>("warning", c => c.Warning),
        ]
    );

    private static BulkColumn<T> Text<T>(string name, Func<T, string?> get) => new(name, BulkType.Text, false) { Text = get };

    private static BulkColumn<T> Int<T>(string name, Func<T, int?> get, bool key = false) =>
        new(name, BulkType.Int, key) { Number = v => get(v) };

    private static BulkColumn<T> Long<T>(string name, Func<T, long?> get, bool key = false) =>
        new(name, BulkType.Long, key) { Number = get };

    private static BulkColumn<T> Bool<T>(string name, Func<T, bool> get) => new(name, BulkType.Bool, false) { Flag = get };
}
