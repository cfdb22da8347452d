using System.Globalization;
using Rollcall.Operations;
using Rollcall.Sync;

namespace Rollcall.Patrons;

/// <summary>
/// Whose record may be changed by whom. The record of an aide, a librarian or an administrator signs in with their rights: whoever puts their
/// own roster identity on it takes these. So only District Administrators change such a record, and nobody else gives rights away.
/// <para>
/// What decides is <see cref="Sync.Apply.SliceWriter"/>, which every change of a patron passes, with the group that the record has at that
/// moment; who plans changes asks here too, so that a preview shows what an approval will do. A sync writes what the roster says and never a
/// group: it is nobody's change.
/// </para>
/// </summary>
internal static class PatronGuard
{
    /// <summary>The code of the warning that counts records which were left out.</summary>
    public const string WarningCode = "above-right";

    /// <summary>Words that every refusal has, so that a worker who takes over can count those of the one before.</summary>
    public const string Alone = "only a District Administrator changes";

    /// <summary>Why this change is not theirs to make, as the beginning of a sentence; null when it is.</summary>
    /// <param name="right">The group of whoever makes it.</param>
    /// <param name="patron">The record as it is; null for one that does not exist yet.</param>
    /// <param name="kind">What becomes of it.</param>
    /// <param name="values">The fields that change.</param>
    public static string? Refusal(SecurityGroup right, Patron? patron, ChangeKind kind, ChangeValues values)
    {
        if (right >= SecurityGroup.DistrictAdministrator)
        {
            return null;
        }

        if (patron is { Group: > SecurityGroup.Patron })
        {
            return $"{patron.DisplayName} is {PatronFields.GroupWord(patron.Group)}: {Alone} such a record";
        }

        if (kind == ChangeKind.Remove)
        {
            return null;
        }

        foreach (var (field, old, value) in values.Items)
        {
            if (string.Equals(old, value, StringComparison.Ordinal))
            {
                continue;
            }

            var gives =
                field == PatronFields.SiteAccess
                || (
                    field == PatronFields.Group
                    && (
                        patron is not null
                        || !int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var group)
                        || group > (int)SecurityGroup.Patron
                    )
                );
            if (gives)
            {
                return FieldRefusal(right, PatronFields.ByNumber(field));
            }
        }

        return null;
    }

    /// <summary>Why a field is not theirs to set by hand or by a file, as the beginning of a sentence; null when it is.</summary>
    public static string? FieldRefusal(SecurityGroup right, PatronField field) =>
        right < SecurityGroup.DistrictAdministrator && field.Number is PatronFields.Group or PatronFields.SiteAccess or PatronFields.Guid
            ? $"{field.Label} says what somebody may do, or who they are: {Alone} it"
            : null;

    /// <summary>The warning that says how many records were left out.</summary>
    public static WarningGroup Warning(long count) =>
        new(
            WarningCode,
            "Records of aides, librarians and administrators were left as they are",
            count,
            "Only a District Administrator changes them: the log names each."
        );
}
