using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Rollcall.Storage.Migrations.Postgres
{
    /// <inheritdoc />
    public partial class GradesCounted : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropIndex(
                name: "ix_patrons_district_id_site_id_status",
                table: "patrons");

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_site_id_status_level",
                table: "patrons",
                columns: new[] { "district_id", "site_id", "status", "level" });
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropIndex(
                name: "ix_patrons_district_id_site_id_status_level",
                table: "patrons");

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_site_id_status",
                table: "patrons",
                columns: new[] { "district_id", "site_id", "status" });
        }
    }
}
